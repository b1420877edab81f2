function main({ $fieldName: name, ...others }) {
  if (typeof name !== 'string') return { error: "Expected an argument '$fieldName' of type 'string'." };
  return { [name]: others };
}
