// Package contracts carries the contract of the HTTP API inside the program: the exact bytes of api.yaml, from which the server is
// generated, against which requests are checked, and which the server hands out.
package contracts

import _ "embed"

// API is contracts/api.yaml, the OpenAPI description of every call.
//
//go:embed api.yaml
var API []byte
