package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"filippo.io/torchwood"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// skew is how far in the future a cosignature may be.
const skew = time.Minute

func cosignedCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	url := flags.String("url", "", "address of the log whose checkpoint is read, or")
	file := flags.String("file", "", "file with the checkpoint")
	vkey := flags.String("vkey", "", "file with the log's vkey")
	by := flags.String("by", "", "file with the vkeys of all who must have cosigned, a line for each")
	notBy := flags.String("not-by", "", "file with the vkeys of those who must not")
	least := flags.Int64("size", 0, "the least size that will do")
	flags.Parse(args)

	log, err := newSource(*url, *vkey)
	if err != nil {
		return err
	}
	var signed []byte
	if *file != "" {
		signed, err = os.ReadFile(*file)
	} else {
		signed, err = get(ctx, log.base+"checkpoint")
	}
	if err != nil {
		return err
	}
	checkpoint, err := openCheckpoint(signed, log.verifier)
	if err != nil {
		return err
	}
	if checkpoint.N < *least {
		return fmt.Errorf("%d entries, fewer than %d", checkpoint.N, *least)
	}
	if err := checkCosigners(signed, *by, *notBy); err != nil {
		return err
	}
	fmt.Printf("%d entries\n", checkpoint.N)
	return nil
}

// checkCosigners says whether exactly those cosigned a checkpoint who should have.
func checkCosigners(signed []byte, by, notBy string) error {
	if by != "" {
		vkeys, err := readLines(by)
		if err != nil {
			return err
		}
		for _, vkey := range vkeys {
			if err := checkCosignature(signed, vkey); err != nil {
				return err
			}
		}
	}
	if notBy != "" {
		vkeys, err := readLines(notBy)
		if err != nil {
			return err
		}
		for _, vkey := range vkeys {
			name, _, _ := strings.Cut(vkey, "+")
			if strings.Contains(string(signed), "— "+name+" ") {
				return fmt.Errorf("there is a line of %s", name)
			}
		}
	}
	return nil
}

// checkCosignature verifies a cosignature with both libraries that know the format.
func checkCosignature(signed []byte, vkey string) error {
	ofFormats, err := formats.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		return err
	}
	opened, err := note.Open(signed, note.VerifierList(ofFormats))
	if err != nil {
		return fmt.Errorf("%s: %w", ofFormats.Name(), err)
	}
	at, err := formats.CoSigV1Timestamp(opened.Sigs[0])
	if err != nil {
		return err
	}
	if at.Unix() == 0 || at.After(time.Now().Add(skew)) {
		return fmt.Errorf("%s cosigned at %s", ofFormats.Name(), at)
	}
	ofTorchwood, err := torchwood.NewCosignatureVerifier(vkey)
	if err != nil {
		return err
	}
	if _, err := note.Open(signed, note.VerifierList(ofTorchwood)); err != nil {
		return fmt.Errorf("%s: %w", ofTorchwood.Name(), err)
	}
	return nil
}
