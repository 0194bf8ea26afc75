package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func agentCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	socket := flags.String("socket", "", "where to listen")
	keys := flags.Int("keys", 1, "how many Ed25519 keys to make")
	out := flags.String("out", "", "write the fingerprints of the keys here, a line for each")
	flags.Parse(args)

	keyring := agent.NewKeyring()
	var fingerprints []string
	for range *keys {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		if err := keyring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
			return err
		}
		public, err := ssh.NewPublicKey(private.Public())
		if err != nil {
			return err
		}
		fingerprints = append(fingerprints, ssh.FingerprintSHA256(public))
	}
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		listener.Close()
	}()
	lines := strings.Join(fingerprints, "\n") + "\n"
	if err := os.WriteFile(*out, []byte(lines), 0o644); err != nil {
		return err
	}
	for {
		connection, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		// An agent serves a connection until its other side ends it.
		go agent.ServeAgent(keyring, connection)
	}
}
