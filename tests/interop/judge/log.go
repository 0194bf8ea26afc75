package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// maxBody bounds what one answer may hold: a full bundle has 256 entries of up to 65535 bytes.
const maxBody = 256*(2+65535) + 1

// errAbsent is the answer 404.
var errAbsent = errors.New("not found")

var httpClient = &http.Client{Timeout: 20 * time.Second}

// get reads one resource. Only the status 200 is an answer.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", url, errAbsent)
	default:
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("%s: longer than any resource of a log", url)
	}
	return body, nil
}

// A source is a log at some address, with the key that its checkpoints are verified with.
type source struct {
	base     string
	verifier note.Verifier
}

// newSource takes the address of a log and the file that holds its vkey.
func newSource(base, vkeyFile string) (source, error) {
	vkey, err := os.ReadFile(vkeyFile)
	if err != nil {
		return source{}, err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(vkey)))
	if err != nil {
		return source{}, fmt.Errorf("%s: %w", vkeyFile, err)
	}
	return source{strings.TrimSuffix(base, "/") + "/", verifier}, nil
}

// checkpoint reads the log's newest checkpoint, as it came and as it was verified.
func (s source) checkpoint(ctx context.Context) ([]byte, torchwood.Checkpoint, error) {
	signed, err := get(ctx, s.base+"checkpoint")
	if err != nil {
		return nil, torchwood.Checkpoint{}, err
	}
	checkpoint, err := openCheckpoint(signed, s.verifier)
	return signed, checkpoint, err
}

// openCheckpoint verifies the log's signature, and that the checkpoint is of the log that the key
// is named after.
func openCheckpoint(signed []byte, verifier note.Verifier) (torchwood.Checkpoint, error) {
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return torchwood.Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	checkpoint, err := torchwood.ParseCheckpoint(opened.Text)
	if err != nil {
		return torchwood.Checkpoint{}, err
	}
	if checkpoint.Origin != verifier.Name() {
		return torchwood.Checkpoint{}, fmt.Errorf("checkpoint of %q, not of %q",
			checkpoint.Origin, verifier.Name())
	}
	return checkpoint, nil
}
