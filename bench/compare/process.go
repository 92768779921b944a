package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	host     = "127.0.0.1"
	endTime  = time.Second     // for a process to end whose connections have
	stopTime = 3 * time.Second // for a process to end by itself after SIGTERM
	pollStep = 10 * time.Millisecond
	logTail  = 512 // bytes of a log that an error shows
)

// pinned is the command line that runs another one on some CPUs.
func pinned(cpus string, argv []string) []string {
	return append([]string{"taskset", "-c", cpus}, argv...)
}

// command makes a process that ends when ctx is done, and with this one in any case.
func command(ctx context.Context, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	// Its own process group: ^C is for this process, which ends what it has started. Pdeathsig is the thread's that starts it: Run is
	// locked to its thread.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// toItsEnd runs a command, and returns what it prints and what it says on its standard error, which is nothing where it was ended for
// ctx or the limit. prepare may be nil.
func toItsEnd(ctx context.Context, limit time.Duration, argv []string, prepare func(*exec.Cmd)) (out []byte, said string, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := command(limited, argv)
	if prepare != nil {
		prepare(cmd)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	switch {
	case err == nil:
		return stdout.Bytes(), stderr.String(), nil
	case ctx.Err() != nil:
		return nil, "", ctx.Err()
	case limited.Err() != nil:
		return nil, "", fmt.Errorf("it takes more than %v", limit)
	}
	return stdout.Bytes(), stderr.String(), err
}

// A process is a server that was started.
type process struct {
	cmd   *exec.Cmd
	addr  string
	port  string
	stats string // the URL, if it has one
	log   *os.File
	done  chan error
}

// A startError is of a server that does not come so far as to listen.
type startError struct{ error }

// startServer starts a server, and waits until it listens.
func (r *run) startServer(ctx context.Context, n string) (*process, error) {
	srv := r.cfg.Spec.Servers[n]
	at, err := freePorts()
	if err != nil {
		return nil, err
	}
	if srv.Port != 0 {
		at[0] = strconv.Itoa(srv.Port)
	}
	argv, err := r.argv(srv.Run, at)
	if err != nil {
		return nil, err
	}
	p := &process{addr: net.JoinHostPort(host, at[0]), port: at[0], stats: r.place(at).Replace(srv.Stats), done: make(chan error, 1)}
	if c, err := net.DialTimeout("tcp", p.addr, time.Second); err == nil {
		_ = c.Close()
		return nil, startError{fmt.Errorf("it wants to listen at %s, where another program does", p.addr)}
	}
	// Its log is a file: one who reads a pipe would need CPU time that is the load's.
	if p.log, err = os.CreateTemp(r.dir, "log-"); err != nil {
		return nil, err
	}
	p.cmd = command(ctx, pinned(strconv.Itoa(r.cfg.ServerCPU), argv))
	p.cmd.Dir = r.dir
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.dropLog()
		return nil, fmt.Errorf("start it: %w", err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	for deadline := time.Now().Add(r.cfg.StartTime); ; {
		c, err := net.DialTimeout("tcp", p.addr, time.Second)
		if err == nil {
			return p, c.Close()
		}
		select {
		case err := <-p.done:
			p.done <- err
			err = startError{fmt.Errorf("it ended at once: %s", p.explain(err))}
			_ = p.stop()
			return nil, err
		case <-ctx.Done():
			_ = p.stop()
			return nil, ctx.Err()
		case <-time.After(pollStep):
		}
		if time.Now().After(deadline) {
			err := startError{fmt.Errorf("it does not listen at %s after %v%s", p.addr, r.cfg.StartTime, p.tail())}
			_ = p.stop()
			return nil, err
		}
	}
}

// explain says how the process has ended.
func (p *process) explain(err error) string {
	how := "with success"
	if err != nil {
		how = err.Error()
	}
	return how + p.tail()
}

// ended returns how the process has ended, or nothing if it runs after so long.
func (p *process) ended(patience time.Duration) string {
	var err error
	select {
	case err = <-p.done:
	case <-time.After(patience):
		select { // it may have ended long ago
		case err = <-p.done:
		default:
			return ""
		}
	}
	p.done <- err
	return p.explain(err)
}

// tail is the end of the server's log, in words that can follow others.
func (p *process) tail() string {
	size, err := p.log.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	b := make([]byte, min(size, logTail))
	n, _ := p.log.ReadAt(b, size-int64(len(b)))
	if text := strings.Join(strings.Fields(string(b[:n])), " "); text != "" {
		return " (its log ends with: " + text + ")"
	}
	return ""
}

func (p *process) dropLog() {
	_ = os.Remove(p.log.Name())
	_ = p.log.Close()
}

// stop ends the process and waits for it.
func (p *process) stop() error {
	defer p.dropLog()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended
	select {
	case err := <-p.done:
		p.done <- err
		var exit *exec.ExitError
		if errors.As(err, &exit) { // how a peer ends is its own affair
			return nil
		}
		return err
	case <-time.After(stopTime):
	}
	_ = p.cmd.Process.Kill()
	err := <-p.done
	p.done <- err
	return nil
}

// freePorts returns ports on which nobody listens. They are held all at once, so that they differ.
func freePorts() (at ports, err error) {
	for i := range at {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return at, err
		}
		defer l.Close()
		if _, at[i], err = net.SplitHostPort(l.Addr().String()); err != nil {
			return at, err
		}
	}
	return at, nil
}
