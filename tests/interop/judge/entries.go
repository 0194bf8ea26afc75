package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

func entriesCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	url := flags.String("url", "", "address of the log")
	vkey := flags.String("vkey", "", "file with the log's vkey")
	expect := flags.String("expect", "", "file with a line for each entry that must be there, in order: its leaf hash in hex")
	out := flags.String("out", "", "write such a file")
	flags.Parse(args)

	log, err := newSource(*url, *vkey)
	if err != nil {
		return err
	}
	var expected []string
	if *expect != "" {
		if expected, err = readLines(*expect); err != nil {
			return err
		}
	}
	written := io.Discard
	if *out != "" {
		file, err := os.Create(*out)
		if err != nil {
			return err
		}
		defer file.Close()
		written = file
	}
	count, err := readEntries(ctx, log, expected, written)
	if err != nil {
		return err
	}
	fmt.Printf("%d entries, %d of them compared\n", count, len(expected))
	return nil
}

// readEntries iterates over all entries up to the newest checkpoint; torchwood verifies each of
// them. The first ones must have the expected leaf hashes. Returns how many there are.
func readEntries(ctx context.Context, log source, expected []string, out io.Writer) (int, error) {
	fetcher, err := torchwood.NewTileFetcher(log.base,
		torchwood.WithHTTPClient(httpClient), torchwood.WithConcurrencyLimit(8))
	if err != nil {
		return 0, err
	}
	entries, err := torchwood.NewClient(fetcher)
	if err != nil {
		return 0, err
	}
	_, checkpoint, err := log.checkpoint(ctx)
	if err != nil {
		return 0, err
	}
	lines := bufio.NewWriter(out)
	count := 0
	for index, entry := range entries.AllEntries(ctx, checkpoint.Tree, 0) {
		if index != int64(count) {
			return count, fmt.Errorf("entry %d where entry %d was due", index, count)
		}
		leaf := tlog.RecordHash(entry)
		hex := fmt.Sprintf("%x", leaf[:])
		if count < len(expected) && expected[count] != hex {
			return count, fmt.Errorf("entry %d has the leaf hash %s, not %s", index, hex, expected[count])
		}
		fmt.Fprintln(lines, hex)
		count++
	}
	if err := entries.Err(); err != nil {
		return count, err
	}
	if int64(count) != checkpoint.N {
		return count, fmt.Errorf("%d entries in a log of %d", count, checkpoint.N)
	}
	if count < len(expected) {
		return count, fmt.Errorf("%d entries, and %d were expected", count, len(expected))
	}
	return count, lines.Flush()
}

func readLines(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var lines []string
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	return lines, scanner.Err()
}
