// Package openapi is generated from contracts/api.yaml: the types of requests and responses, and the server's interface. Only
// httpapi imports it. Change the contract, then run go generate.
package openapi

//go:generate go tool -modfile=../../../tools/go.mod oapi-codegen -config oapi-codegen.yaml ../../../contracts/api.yaml
