// GOOS=wasip1 GOARCH=wasm go build -o command.wasm command.go
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	parameters := struct{ Name string }{"world"}
	if err := json.NewDecoder(os.Stdin).Decode(&parameters); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "activation", os.Getenv("__OW_ACTIVATION_ID"))
	json.NewEncoder(os.Stdout).Encode(map[string]string{"greeting": "Hello " + parameters.Name})
}
