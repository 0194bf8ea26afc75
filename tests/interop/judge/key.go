package main

import (
	"context"
	"crypto/rand"
	"flag"
	"os"

	"golang.org/x/mod/sumdb/note"
)

func keyCommand(_ context.Context, flags *flag.FlagSet, args []string) error {
	name := flags.String("name", "", "name of the log")
	skeyFile := flags.String("skey", "", "write the private key here")
	vkeyFile := flags.String("vkey", "", "write the public key here")
	flags.Parse(args)

	skey, vkey, err := note.GenerateKey(rand.Reader, *name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(*skeyFile, []byte(skey), 0o600); err != nil {
		return err
	}
	return os.WriteFile(*vkeyFile, []byte(vkey+"\n"), 0o644)
}
