// Package contracts carries the contract of the HTTP API inside the program: the exact bytes of api.yaml, from which the server is
// generated, against which requests are checked, and which the server hands out.
package contracts

import _ "embed"

//go:generate go -C ../tools run ./asjson ../contracts/api.yaml ../contracts/api.gen.json

var (
	// API is contracts/api.yaml, the OpenAPI description of every call.
	//
	//go:embed api.yaml
	API []byte

	// JSON is the same in JSON.
	//
	//go:embed api.gen.json
	JSON []byte
)
