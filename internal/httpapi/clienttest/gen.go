// Package clienttest is a client generated from contracts/api.yaml, as users of the API generate theirs. A test drives a portal with it. Change the
// contract, then run go generate.
package clienttest

//go:generate go tool -modfile=../../../tools/go.mod oapi-codegen -config oapi-codegen.yaml ../../../contracts/api.yaml
