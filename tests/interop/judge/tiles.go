package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

func tilesCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	url := flags.String("url", "", "address of the log")
	vkey := flags.String("vkey", "", "file with the log's vkey")
	rounds := flags.Int("rounds", 50, "how many random trees to prove")
	seed := flags.Uint64("seed", 1, "what the random choices begin with")
	earlier := flags.String("earlier", "", "file with an earlier checkpoint, whose tree must be the beginning of this one and still be readable")
	save := flags.String("save", "", "write the checkpoint to this file")
	flags.Parse(args)

	log, err := newSource(*url, *vkey)
	if err != nil {
		return err
	}
	signed, checkpoint, err := log.checkpoint(ctx)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(*seed, 0))
	if err := checkTiles(ctx, log.base, checkpoint.Tree, *rounds, random); err != nil {
		return err
	}
	if *earlier != "" {
		old, err := os.ReadFile(*earlier)
		if err != nil {
			return err
		}
		before, err := openCheckpoint(old, log.verifier)
		if err != nil {
			return err
		}
		if err := checkGrowth(ctx, log.base, before.Tree, checkpoint.Tree); err != nil {
			return err
		}
		if err := checkTiles(ctx, log.base, before.Tree, *rounds, random); err != nil {
			return fmt.Errorf("the tree of %d entries: %w", before.N, err)
		}
	}
	fmt.Printf("%d entries, root %s\n", checkpoint.N, checkpoint.Hash)
	if *save != "" {
		return os.WriteFile(*save, signed, 0o644)
	}
	return nil
}

// checkTiles reads all tiles and bundles of a tree, compares each entry with its leaf, and proves and
// checks one random record of each bundle and random earlier trees.
func checkTiles(ctx context.Context, base string, tree tlog.Tree, rounds int, random *rand.Rand) error {
	tiles := &tileReader{ctx: ctx, base: base, verified: make(map[tlog.Tile][]byte)}
	hashes := tlog.TileHashReader(tree, tiles)
	for first := int64(0); first < tree.N; first += tileWidth {
		leaves, err := readLeaves(tiles, hashes, first, min(tileWidth, tree.N-first))
		if err != nil {
			return err
		}
		chosen := random.Int64N(int64(len(leaves)))
		index := first + chosen
		proof, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			return fmt.Errorf("record %d: %w", index, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaves[chosen]); err != nil {
			return fmt.Errorf("record %d: %w", index, err)
		}
	}
	for range rounds {
		if err := checkRandomTree(hashes, tree, random); err != nil {
			return err
		}
	}
	return nil
}

// readLeaves hashes the entries of one bundle, and compares them with the tree.
func readLeaves(tiles *tileReader, hashes tlog.HashReader, first, width int64) ([]tlog.Hash, error) {
	bundle := tlog.Tile{H: tileHeight, L: -1, N: first / tileWidth, W: int(width)}
	data, err := tiles.read(bundle)
	if err != nil {
		return nil, err
	}
	indexes := make([]int64, width)
	leaves := make([]tlog.Hash, width)
	for i := range leaves {
		entry, rest, err := torchwood.ReadTileEntry(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", tilePath(bundle), err)
		}
		data = rest
		leaves[i] = tlog.RecordHash(entry)
		indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
	}
	if len(data) > 0 && !tiles.isFull[bundle] {
		return nil, fmt.Errorf("%s: more than %d entries", tilePath(bundle), width)
	}
	inTree, err := hashes.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	for i, leaf := range leaves {
		if leaf != inTree[i] {
			return nil, fmt.Errorf("entry %d is not what the tree holds", first+int64(i))
		}
	}
	return leaves, nil
}

// checkRandomTree proves that an earlier tree, of some random size, is the beginning of this one.
func checkRandomTree(hashes tlog.HashReader, tree tlog.Tree, random *rand.Rand) error {
	if tree.N == 0 {
		return nil
	}
	size := 1 + random.Int64N(tree.N)
	root, err := tlog.TreeHash(size, hashes)
	if err != nil {
		return fmt.Errorf("tree of %d entries: %w", size, err)
	}
	return proveTree(hashes, tlog.Tree{N: size, Hash: root}, tree)
}

// checkGrowth proves that the tree of an earlier checkpoint is the beginning of a later one's.
func checkGrowth(ctx context.Context, base string, before, after tlog.Tree) error {
	if before.N > after.N {
		return fmt.Errorf("the log went back from %d to %d entries", before.N, after.N)
	}
	if before.N == 0 {
		return nil
	}
	tiles := &tileReader{ctx: ctx, base: base, verified: make(map[tlog.Tile][]byte)}
	return proveTree(tlog.TileHashReader(after, tiles), before, after)
}

func proveTree(hashes tlog.HashReader, before, after tlog.Tree) error {
	proof, err := tlog.ProveTree(after.N, before.N, hashes)
	if err != nil {
		return fmt.Errorf("tree of %d entries: %w", before.N, err)
	}
	if err := tlog.CheckTree(proof, after.N, after.Hash, before.N, before.Hash); err != nil {
		return fmt.Errorf("tree of %d entries: %w", before.N, err)
	}
	return nil
}

// A tileReader fetches tiles for x/mod. What x/mod has authenticated is not fetched twice.
type tileReader struct {
	ctx      context.Context
	base     string
	verified map[tlog.Tile][]byte
	// isFull names the bundles that the full one was read in place of.
	isFull map[tlog.Tile]bool
}

// Height implements tlog.TileReader.
func (r *tileReader) Height() int { return tileHeight }

// ReadTiles implements tlog.TileReader.
func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	answers := make([][]byte, len(tiles))
	for i, tile := range tiles {
		if known, ok := r.verified[tile]; ok {
			answers[i] = known
			continue
		}
		data, err := r.read(tile)
		if err != nil {
			return nil, err
		}
		width := tile.W * tlog.HashSize
		if r.isFull[tile] && len(data) > width {
			data = data[:width]
		}
		answers[i] = data
	}
	return answers, nil
}

// SaveTiles implements tlog.TileReader.
func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, tile := range tiles {
		r.verified[tile] = data[i]
	}
}

// read fetches a tile or bundle; in place of a partial one that is gone, the full one.
func (r *tileReader) read(tile tlog.Tile) ([]byte, error) {
	data, err := get(r.ctx, r.base+tilePath(tile))
	if !errors.Is(err, errAbsent) || tile.W == tileWidth {
		return data, err
	}
	full := tile
	full.W = tileWidth
	data, err = get(r.ctx, r.base+tilePath(full))
	if err != nil {
		return nil, fmt.Errorf("neither %s nor the full tile: %w", tilePath(tile), err)
	}
	if r.isFull == nil {
		r.isFull = make(map[tlog.Tile]bool)
	}
	r.isFull[tile] = true
	return data, nil
}

// tilePath is where tlog-tiles puts what x/mod, after the Go checksum database, calls tile/8/...
func tilePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), "tile/8/")
	if rest, ok := strings.CutPrefix(path, "data/"); ok {
		return "tile/entries/" + rest
	}
	return "tile/" + path
}
