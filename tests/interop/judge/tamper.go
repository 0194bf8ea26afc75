package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"time"
)

// A part of a message, and where in it a byte is changed.
type part string

const (
	// partMiddle is the byte in the middle of whatever it is.
	partMiddle part = "middle"
	// partProof is in the first hash of the proof that stands before a checkpoint.
	partProof part = "proof"
	// partRoot is in the last line that is one hash: the root of a checkpoint.
	partRoot part = "root"
	// partSignature is in the first signature line, behind the id of its key.
	partSignature part = "signature"
)

var (
	hashLine      = regexp.MustCompile(`(?m)^[A-Za-z0-9+/]{43}=$`)
	signatureLine = regexp.MustCompile(`(?m)^— \S+ (\S+)$`)
)

// tampered returns a copy with one byte changed, and where; false if there is no such part.
func tampered(message []byte, where part) ([]byte, int, bool) {
	at := -1
	switch where {
	case partMiddle:
		at = len(message) / 2
	case partProof:
		proof, _, isNote := bytes.Cut(message, []byte("\n\n"))
		if found := hashLine.FindIndex(proof); found != nil && isNote {
			at = (found[0] + found[1]) / 2
		}
	case partRoot:
		if found := hashLine.FindAllIndex(message, -1); found != nil {
			last := found[len(found)-1]
			at = (last[0] + last[1]) / 2
		}
	case partSignature:
		if found := signatureLine.FindSubmatchIndex(message); found != nil {
			at = (found[2] + found[3]) / 2
		}
	}
	if at < 0 || at >= len(message) {
		return nil, 0, false
	}
	changed := bytes.Clone(message)
	changed[at] = another(changed[at])
	return changed, at, true
}

// another is a byte that still is base64, so that a text is refused for what it says.
func another(b byte) byte {
	if b == 'A' {
		return 'B'
	}
	return 'A'
}

// A tamperer changes one byte of each request or response on some paths.
type tamperer struct {
	paths   *regexp.Regexp
	where   part
	request bool
	// report gets a line for each byte that was changed.
	report io.Writer
}

// handler passes everything on to upstream. It asks for no encoding of its clients' choice: the
// transport takes gzip away, so that what changes is the content and not its compression.
func (t tamperer) handler(upstream *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(upstream)
			request.Out.Header.Del("Accept-Encoding")
			if t.request && t.paths.MatchString(request.In.URL.Path) {
				body := t.change(request.In.URL.Path, request.Out.Body)
				request.Out.Body = io.NopCloser(bytes.NewReader(body))
				request.Out.ContentLength = int64(len(body))
			}
		},
		ModifyResponse: func(response *http.Response) error {
			path := response.Request.URL.Path
			if t.request || response.StatusCode != http.StatusOK || !t.paths.MatchString(path) {
				return nil
			}
			body := t.change(path, response.Body)
			response.Body = io.NopCloser(bytes.NewReader(body))
			response.ContentLength = int64(len(body))
			response.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return nil
		},
	}
}

func (t tamperer) change(path string, body io.ReadCloser) []byte {
	defer body.Close()
	message, err := io.ReadAll(io.LimitReader(body, maxBody))
	if err != nil {
		return nil
	}
	changed, at, ok := tampered(message, t.where)
	if !ok {
		return message
	}
	fmt.Fprintf(t.report, "%s: byte %d of %d\n", path, at, len(message))
	return changed
}

func tamperCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	listen := flags.String("listen", "127.0.0.1:0", "where to listen")
	upstream := flags.String("upstream", "", "address of the server")
	paths := flags.String("paths", "^$", "regular expression of the paths to change something on")
	where := flags.String("part", string(partMiddle), "what to change: middle, proof, root or signature")
	request := flags.Bool("request", false, "change requests, not responses")
	report := flags.String("report", "", "file that gets a line for each change")
	flags.Parse(args)

	switch part(*where) {
	case partMiddle, partProof, partRoot, partSignature:
	default:
		return fmt.Errorf("no part is called %q", *where)
	}
	expression, err := regexp.Compile(*paths)
	if err != nil {
		return err
	}
	target, err := url.Parse(*upstream)
	if err != nil {
		return err
	}
	lines, err := os.OpenFile(*report, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer lines.Close()
	handler := tamperer{expression, part(*where), *request, lines}.handler(target)
	server := &http.Server{Addr: *listen, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
