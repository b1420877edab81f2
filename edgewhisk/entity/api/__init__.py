"""APIs: paths of a namespace under `/api/`, each in front of a web action."""
