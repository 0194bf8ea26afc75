// Judge checks a transparency log with other people's libraries.
//
// It knows nothing of the programs of this repository but the public formats that they speak:
// C2SP signed notes, checkpoints, cosignatures, tiles and proofs. Everything that is decided here is
// decided by golang.org/x/mod, filippo.io/torchwood, transparency-dev/formats or
// transparency-dev/merkle; the code around them fetches, compares and prints.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const usage = `usage: judge COMMAND [FLAGS]; judge COMMAND -h lists the flags

  tiles      prove and check records and trees with x/mod's reader of tiles
  entries    read every entry with torchwood's client
  cosigned   check who cosigned a checkpoint, with formats and with torchwood
  prove      write a .tlog-proof of an entry, made from a log's tiles by torchwood and formats
  proof      check a .tlog-proof with formats and merkle, and with torchwood
  key        make the key of a log, as Tessera's programs read it
  agent      be the ssh-agent that litewitness keeps its key in, with new keys
  tamper     pass requests on to a server, with one byte of what is named changed
`

// A command reads its own flags and returns nil if all that it checked holds.
type command func(ctx context.Context, flags *flag.FlagSet, args []string) error

var commands = map[string]command{
	"tiles":    tilesCommand,
	"entries":  entriesCommand,
	"cosigned": cosignedCommand,
	"prove":    proveCommand,
	"proof":    proofCommand,
	"key":      keyCommand,
	"agent":    agentCommand,
	"tamper":   tamperCommand,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	name := os.Args[1]
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet("judge "+name, flag.ExitOnError)
	if err := commands[name](ctx, flags, os.Args[2:]); err != nil {
		// Some libraries say it on many lines.
		fmt.Fprintf(os.Stderr, "judge %s: %s\n", name, strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(1)
	}
}
