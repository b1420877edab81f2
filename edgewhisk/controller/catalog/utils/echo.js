function main(parameters) {
  return parameters;
}
