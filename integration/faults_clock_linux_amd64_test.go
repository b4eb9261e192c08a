//go:build integration

package integration

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockFaults are those that need a clock of a process's own.
func clockFaults() []fault {
	return []fault{{
		name: "clocks apart", manual: "clocks are apart", latency: 3 * time.Second, concurrency: 8, strike: clocksApart,
		clocks: [faultWorkers]time.Duration{10 * time.Minute, -10 * time.Minute, 0},
	}}
}

// clocksApart waits until Redis holds tasks at once whose leases were taken by
// a clock before and by one behind its own. It is so from the first lookup to
// the last. A minute later each worker looks for leases that have run out by
// its own clock, and takes from the others what they have in hand.
func clocksApart(f *trouble) string {
	var early, late time.Duration
	f.until("leases are minutes before and behind Redis's clock", func() bool {
		now, err := f.rdb.Time(f.t.Context()).Result()
		leases := f.rdb.ZRangeWithScores(f.t.Context(), queueKey("lease"), 0, -1).Val()
		if err != nil || len(leases) == 0 {
			return false
		}
		ends := func(i int) time.Duration { return time.Unix(int64(leases[i].Score), 0).Sub(now).Round(time.Second) }
		early, late = ends(0), ends(len(leases)-1)
		return early < -9*time.Minute && late > 9*time.Minute
	})
	taken := int64(0)
	f.until("tasks of workers that live are taken for abandoned", func() bool {
		taken = max(taken, f.rdb.ZCard(f.t.Context(), queueKey("retry")).Val())
		return taken > 0
	})
	f.launch = func(cmd *exec.Cmd) error { return startSkewed(cmd, f.clocks[0]) }
	if e := f.run("harvest", "doctor"); e.code != 1 || !strings.Contains(e.stdout, "problem   clock: ") {
		f.t.Errorf("want doctor to find the clock: %v", e)
	}
	f.launch = nil
	return fmt.Sprintf("leases that ended %v ago beside ones for %v to come; at least %d tasks taken from the living", -early, late, taken)
}

// startSkewed starts a program whose clock is off, from its first instruction
// on. Go asks the kernel's vDSO for the time, code that is mapped into each
// process: in the new process alone its clock_gettime is replaced by one that
// makes the system call and adds to the time of day. The clocks that durations
// go by stay right, as they do where a machine's time of day is wrong.
func startSkewed(cmd *exec.Cmd, off time.Duration) error {
	// The thread that starts it is the one that may hold it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || !status.Stopped() {
		return fmt.Errorf("it does not stop before its first instruction: %v, status %#x", err, status)
	}
	if err := skew(pid, off); err != nil {
		return fmt.Errorf("set its clock: %w", err)
	}
	return syscall.PtraceDetach(pid)
}

var vdsoLine = regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$`)

// skew replaces clock_gettime in the vDSO of a stopped process.
func skew(pid int, off time.Duration) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	found := vdsoLine.FindSubmatch(maps)
	if found == nil {
		return fmt.Errorf("no vDSO in its memory:\n%s", maps)
	}
	from, err := strconv.ParseInt(string(found[1]), 16, 64)
	if err != nil {
		return err
	}
	to, err := strconv.ParseInt(string(found[2]), 16, 64)
	if err != nil {
		return err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	image, err := io.ReadAll(io.NewSectionReader(memory, from, to-from))
	if err != nil {
		return err
	}
	library, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return err
	}
	symbols, err := library.DynamicSymbols()
	if err != nil {
		return err
	}
	code := clockGettime(off)
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" && s.Size >= uint64(len(code)) {
			_, err := memory.WriteAt(code, from+int64(s.Value))
			return err
		}
	}
	return fmt.Errorf("no clock_gettime in its vDSO")
}

// clockGettime is the code of clock_gettime(2) with CLOCK_REALTIME off by so
// many seconds.
func clockGettime(off time.Duration) []byte {
	code := []byte{
		0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
		0x75, 7, // jne to the ret
		0x48, 0x81, 0x06, // add qword [rsi], the seconds
	}
	code = binary.LittleEndian.AppendUint32(code, uint32(int32(off/time.Second)))
	return append(code, 0xc3) // ret
}
