package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"filippo.io/torchwood"
	"github.com/transparency-dev/formats/proof"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func proofCommand(_ context.Context, flags *flag.FlagSet, args []string) error {
	file := flags.String("proof", "", "the .tlog-proof")
	entryFile := flags.String("entry", "", "file with the bytes of the entry")
	policyFile := flags.String("policy", "", "file with the policy: whose signatures are needed")
	vkey := flags.String("vkey", "", "file with the log's vkey")
	flags.Parse(args)

	log, err := newSource("", *vkey)
	if err != nil {
		return err
	}
	var contents [3][]byte
	for i, path := range []string{*file, *entryFile, *policyFile} {
		if contents[i], err = os.ReadFile(path); err != nil {
			return err
		}
	}
	policy, err := torchwood.ParsePolicy(contents[2])
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	index, err := checkProof(contents[0], contents[1], log.verifier, policy)
	if err != nil {
		return err
	}
	fmt.Printf("entry %d\n", index)
	return nil
}

// checkProof has a proof checked twice: parsed by formats and verified by merkle, and by torchwood
// alone. Returns the index of the entry.
func checkProof(data, entry []byte, log note.Verifier, policy torchwood.Policy) (uint64, error) {
	var parsed proof.TLogProof
	if err := parsed.Unmarshal(data); err != nil {
		return 0, err
	}
	if !bytes.Equal(parsed.Marshal(), data) {
		return 0, errors.New("formats would have written other bytes")
	}
	checkpoint, err := openCheckpoint(parsed.Checkpoint, log)
	if err != nil {
		return 0, err
	}
	path := make([][]byte, len(parsed.Hashes))
	for i := range path {
		path[i] = parsed.Hashes[i][:]
	}
	hasher := rfc6962.DefaultHasher
	if err := merkle.VerifyInclusion(hasher, parsed.Index, uint64(checkpoint.N),
		hasher.HashLeaf(entry), path, checkpoint.Hash[:]); err != nil {
		return 0, fmt.Errorf("merkle: %w", err)
	}
	if err := torchwood.VerifyProof(policy, tlog.RecordHash(entry), data); err != nil {
		return 0, fmt.Errorf("torchwood: %w", err)
	}
	return parsed.Index, nil
}

func proveCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	url := flags.String("url", "", "address of the log")
	vkey := flags.String("vkey", "", "file with the log's vkey")
	index := flags.Int64("index", 0, "which entry")
	proofFile := flags.String("proof", "", "write the .tlog-proof here")
	entryFile := flags.String("entry", "", "write the bytes of the entry here")
	flags.Parse(args)

	log, err := newSource(*url, *vkey)
	if err != nil {
		return err
	}
	entry, made, err := prove(ctx, log, *index)
	if err != nil {
		return err
	}
	if err := os.WriteFile(*entryFile, entry, 0o644); err != nil {
		return err
	}
	return os.WriteFile(*proofFile, made, 0o644)
}

// prove makes the proof of an entry from the log's tiles and its newest checkpoint.
func prove(ctx context.Context, log source, index int64) (entry, data []byte, err error) {
	fetcher, err := torchwood.NewTileFetcher(log.base, torchwood.WithHTTPClient(httpClient))
	if err != nil {
		return nil, nil, err
	}
	entries, err := torchwood.NewClient(fetcher)
	if err != nil {
		return nil, nil, err
	}
	signed, checkpoint, err := log.checkpoint(ctx)
	if err != nil {
		return nil, nil, err
	}
	entry, path, err := entries.Entry(ctx, checkpoint.Tree, index)
	if err != nil {
		return nil, nil, err
	}
	made := proof.TLogProof{Index: uint64(index), Checkpoint: signed}
	for _, hash := range path {
		made.Hashes = append(made.Hashes, hash)
	}
	return entry, made.Marshal(), nil
}
