package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	seeded "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

// size has two full tiles of leaves, a partial one, and a partial tile above them.
const size = 2*tileWidth + 7

// A foreignLog is one that Tessera made, in a directory.
type foreignLog struct {
	directory string
	signer    note.Signer
	verifier  note.Verifier
}

func newForeignLog(t *testing.T) foreignLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, "example.com/foreign")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return foreignLog{t.TempDir(), signer, verifier}
}

// add appends entries and waits until a checkpoint covers them.
func (l foreignLog) add(t *testing.T, from, to int) {
	t.Helper()
	ctx := t.Context()
	driver, err := posix.New(ctx, posix.Config{Path: l.directory})
	if err != nil {
		t.Fatal(err)
	}
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(l.signer).
		WithBatching(uint(to-from), 100*time.Millisecond).
		WithCheckpointInterval(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	await := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 20*time.Millisecond)
	futures := make([]tessera.IndexFuture, 0, to-from)
	for number := from; number < to; number++ {
		futures = append(futures, appender.Add(ctx, tessera.NewEntry(fmt.Appendf(nil, "entry %d", number))))
	}
	for _, future := range futures {
		if _, _, err := await.Await(ctx, future); err != nil {
			t.Fatal(err)
		}
	}
	if err := shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

// serve answers from the directory.
func (l foreignLog) serve(t *testing.T) source {
	t.Helper()
	server := httptest.NewServer(http.FileServer(http.Dir(l.directory)))
	t.Cleanup(server.Close)
	return source{server.URL + "/", l.verifier}
}

// throughProxy reaches a log behind somebody who changes a byte of what is on some paths.
func throughProxy(t *testing.T, log source, paths string, where part, report io.Writer) source {
	t.Helper()
	upstream, err := url.Parse(log.base)
	if err != nil {
		t.Fatal(err)
	}
	changer := tamperer{regexp.MustCompile(paths), where, false, report}
	server := httptest.NewServer(changer.handler(upstream))
	t.Cleanup(server.Close)
	return source{server.URL + "/", log.verifier}
}

// The checks that read a whole log.
var wholeLog = map[string]func(context.Context, source) error{
	"tiles": func(ctx context.Context, log source) error {
		_, checkpoint, err := log.checkpoint(ctx)
		if err != nil {
			return err
		}
		return checkTiles(ctx, log.base, checkpoint.Tree, 20, seeded.New(seeded.NewPCG(1, 0)))
	},
	"entries": func(ctx context.Context, log source) error {
		_, err := readEntries(ctx, log, nil, io.Discard)
		return err
	},
	"fsck": func(ctx context.Context, log source) error {
		base, err := url.Parse(log.base)
		if err != nil {
			return err
		}
		fetcher, err := client.NewHTTPFetcher(base, nil)
		if err != nil {
			return err
		}
		check := fsck.New(log.verifier.Name(), log.verifier, fetcher, leafHashes, fsck.Opts{N: 4})
		return check.Check(ctx)
	},
}

func leafHashes(bundle []byte) ([][]byte, error) {
	var parsed api.EntryBundle
	if err := parsed.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(parsed.Entries))
	for i, entry := range parsed.Entries {
		hashes[i] = rfc6962.DefaultHasher.HashLeaf(entry)
	}
	return hashes, nil
}

func TestEveryCheckAcceptsAForeignLog(t *testing.T) {
	foreign := newForeignLog(t)
	foreign.add(t, 0, size)
	log := foreign.serve(t)
	for name, check := range wholeLog {
		for _, where := range []string{"from it", "through a proxy that changes nothing"} {
			from := log
			if where != "from it" {
				from = throughProxy(t, log, "^$", partMiddle, io.Discard)
			}
			if err := check(t.Context(), from); err != nil {
				t.Errorf("%s, %s: %v", name, where, err)
			}
		}
	}
}

func TestEveryCheckRefusesEveryResourceOfWhichOneByteIsChanged(t *testing.T) {
	foreign := newForeignLog(t)
	foreign.add(t, 0, size)
	log := foreign.serve(t)
	for _, changed := range []struct {
		paths string
		where part
	}{
		{`^/tile/0/000$`, partMiddle},
		{`^/tile/0/001$`, partMiddle},
		{`^/tile/0/002\.p/7$`, partMiddle},
		{`^/tile/1/000\.p/2$`, partMiddle},
		{`^/tile/entries/000$`, partMiddle},
		{`^/tile/entries/001$`, partMiddle},
		{`^/tile/entries/002\.p/7$`, partMiddle},
		{`^/checkpoint$`, partMiddle},
		{`^/checkpoint$`, partRoot},
		{`^/checkpoint$`, partSignature},
	} {
		for name, check := range wholeLog {
			var report bytes.Buffer
			err := check(t.Context(), throughProxy(t, log, changed.paths, changed.where, &report))
			if report.Len() == 0 {
				t.Errorf("%s never read %s", name, changed.paths)
			} else if err == nil {
				t.Errorf("%s accepts %s", name, strings.TrimSpace(report.String()))
			}
		}
	}
}

func TestGrowthIsAcceptedAndAnotherHistoryIsNot(t *testing.T) {
	foreign := newForeignLog(t)
	foreign.add(t, 0, size)
	log := foreign.serve(t)
	_, before, err := log.checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	foreign.add(t, size, size+300)
	_, after, err := log.checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	if err := checkGrowth(t.Context(), log.base, before.Tree, after.Tree); err != nil {
		t.Error(err)
	}
	random := seeded.New(seeded.NewPCG(1, 0))
	if err := checkTiles(t.Context(), log.base, before.Tree, 5, random); err != nil {
		t.Errorf("the earlier tree can't be read any more: %v", err)
	}
	before.Hash[5] ^= 1
	if err := checkGrowth(t.Context(), log.base, before.Tree, after.Tree); err == nil {
		t.Error("a tree with another root is taken for the beginning of this one")
	}
	if err := checkGrowth(t.Context(), log.base, after.Tree, before.Tree); err == nil {
		t.Error("a log may shrink")
	}
}

func TestEntriesMustBeThoseExpected(t *testing.T) {
	foreign := newForeignLog(t)
	foreign.add(t, 0, 10)
	log := foreign.serve(t)
	var out bytes.Buffer
	if _, err := readEntries(t.Context(), log, nil, &out); err != nil {
		t.Fatal(err)
	}
	expected := strings.Fields(out.String())

	if _, err := readEntries(t.Context(), log, expected[:9], io.Discard); err != nil {
		t.Error(err)
	}
	swapped := append([]string{expected[1], expected[0]}, expected[2:]...)
	if _, err := readEntries(t.Context(), log, swapped, io.Discard); err == nil {
		t.Error("entries may change places")
	}
	if _, err := readEntries(t.Context(), log, append(expected, expected[0]), io.Discard); err == nil {
		t.Error("an entry may be missing")
	}
}

func TestAProofIsAcceptedAndRefusedWithAnyByteChanged(t *testing.T) {
	foreign := newForeignLog(t)
	foreign.add(t, 0, 10)
	log := foreign.serve(t)
	entry, data, err := prove(t.Context(), log, 8)
	if err != nil {
		t.Fatal(err)
	}
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(log.verifier.Name()),
		torchwood.SingleVerifierPolicy(log.verifier))

	if index, err := checkProof(data, entry, log.verifier, policy); err != nil || index != 8 {
		t.Fatalf("entry %d: %v", index, err)
	}
	if _, err := checkProof(data, append(entry, '!'), log.verifier, policy); err == nil {
		t.Error("the proof of another entry is accepted")
	}
	for at := range data {
		for _, other := range []byte{data[at] ^ 1, another(data[at])} {
			changed := bytes.Clone(data)
			changed[at] = other
			if _, err := checkProof(changed, entry, log.verifier, policy); err == nil && !isPadding(data, at) {
				t.Errorf("accepted although byte %d is %q, not %q", at, other, data[at])
			}
		}
	}
}

// isPadding says whether a byte is the last digit of a base64 text, of which two or four bits say
// nothing: Go's decoder, unlike this repository's programs, takes any.
func isPadding(data []byte, at int) bool {
	return at+1 < len(data) && data[at+1] == '='
}

func TestTheLineOfACosignerIsFoundMissingOrForged(t *testing.T) {
	foreign := newForeignLog(t)
	foreign.add(t, 0, 3)
	signed, err := os.ReadFile(filepath.Join(foreign.directory, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	witness, vkey := newWitness(t)
	opened, err := note.Open(signed, note.VerifierList(foreign.verifier))
	if err != nil {
		t.Fatal(err)
	}
	cosigned, err := note.Sign(opened, witness)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(t.TempDir(), "witnesses")
	if err := os.WriteFile(list, []byte(vkey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := checkCosigners(cosigned, list, ""); err != nil {
		t.Error(err)
	}
	if err := checkCosigners(signed, list, ""); err == nil {
		t.Error("a checkpoint without cosignature is taken for one with it")
	}
	if err := checkCosigners(cosigned, "", list); err == nil {
		t.Error("a cosignature that must not be there is overlooked")
	}
	last := len(cosigned) - 20
	forged := bytes.Clone(cosigned)
	forged[last] = another(forged[last])
	if err := checkCosigners(forged, list, ""); err == nil {
		t.Error("a forged cosignature is accepted")
	}
}

func newWitness(t *testing.T) (note.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := torchwood.NewCosignatureSigner("example.com/witness", private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, signer.Verifier().String()
}

func TestAByteIsChangedInThePartThatIsNamedAlone(t *testing.T) {
	hash := strings.Repeat("h", 43) + "="
	message := "old 7\n" + hash + "\n" + hash + "\n\norigin\n9\n" + hash + "\n\n— origin " +
		strings.Repeat("s", 92) + "\n"
	first := strings.Index(message, hash)
	for _, expected := range []struct {
		where    part
		from, to int
	}{
		{partProof, first, first + len(hash)},
		{partRoot, strings.LastIndex(message, hash), strings.LastIndex(message, hash) + len(hash)},
		{partSignature, strings.Index(message, "sss") + 6, len(message) - 1},
	} {
		changed, at, ok := tampered([]byte(message), expected.where)
		if !ok || at < expected.from || at >= expected.to {
			t.Errorf("%s: byte %d, %v", expected.where, at, ok)
		}
		changed[at] = message[at]
		if string(changed) != message {
			t.Errorf("%s: more than one byte", expected.where)
		}
	}
	if _, _, ok := tampered([]byte("old 0\n\norigin\n9\n"+hash+"\n\n"), partProof); ok {
		t.Error("a request without proof has no proof to change")
	}
}
