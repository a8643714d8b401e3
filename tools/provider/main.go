// Command provider is an OpenID provider for tests, with its own sign-in page: zitadel's, whose protocol is certified by the OpenID Foundation. It is a
// module of its own so that its dependencies do not become the portal's.
//
//	provider USERS.json CLIENT SECRET CALLBACK
//
// It listens on a free port of loopback, prints its issuer, and runs until it is ended.
package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "provider:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("want USERS.json CLIENT SECRET CALLBACK, have %q", args)
	}
	users, err := storage.StoreFromFile(args[0])
	if err != nil {
		return err
	}
	storage.RegisterClients(storage.WebClient(args[1], args[2], args[3]))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	issuer := "http://" + listener.Addr().String() + "/"
	handler := exampleop.SetupServer(issuer, storage.NewStorage(users), slog.New(slog.NewTextHandler(os.Stderr, nil)), false)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	fmt.Println("issuer", issuer)
	return server.Serve(listener)
}
