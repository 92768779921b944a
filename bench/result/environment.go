package result

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DescribeEnvironment returns what can be found out about this machine. Versions of servers, and the CPUs that servers and load have, are
// the caller's to add.
func DescribeEnvironment() Environment {
	env := Environment{Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		env.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		env.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	env.CPU, env.CPUs, env.Virtual = describeCPU(content("/proc/cpuinfo"))
	env.CPUs = cmp.Or(env.CPUs, runtime.NumCPU()) // those that this process may use
	env.Virtual = hypervisor(env.Virtual)
	env.Governor = line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	env.Mitigations = mitigations("/sys/devices/system/cpu/vulnerabilities")
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		env.Commit = strings.TrimSpace(string(out))
	}
	return env
}

// CommandLine is how to do it again, as a shell takes it: without the folder that the program lies in, which is nobody else's.
func CommandLine(argv []string) string {
	plain := func(c rune) bool { // what no shell takes for anything else
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.,:/=+@%", c)
	}
	words := []string{filepath.Base(argv[0])}
	for _, w := range argv[1:] {
		if w == "" || strings.ContainsFunc(w, func(c rune) bool { return !plain(c) }) {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// BoundTo returns the CPUs that a process may run on, as in "0,2-3"; nothing where these are all that there are, or where that is not known.
func BoundTo(pid int) string {
	for l := range strings.Lines(content("/proc/" + strconv.Itoa(pid) + "/status")) {
		cpus, ok := strings.CutPrefix(l, "Cpus_allowed_list:")
		if cpus = strings.TrimSpace(cpus); ok && cpus != line("/sys/devices/system/cpu/online") {
			return cpus
		}
	}
	return ""
}

func content(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(b)
}

func line(file string) string { return strings.TrimSpace(content(file)) }

// describeCPU returns the model of the first CPU, how many there are, and "yes" where they say that they are a hypervisor's.
func describeCPU(cpuinfo string) (model string, n int, virtual string) {
	for l := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(l, ":")
		switch strings.TrimSpace(key) {
		case "model name", "Model", "cpu model":
			if model == "" {
				model = strings.TrimSpace(value)
			}
		case "processor":
			n++
		case "flags":
			if slices.Contains(strings.Fields(value), "hypervisor") {
				virtual = "yes"
			}
		}
	}
	return model, n, virtual
}

// hypervisor names the one that this machine runs on. known is what is returned if it has no name.
func hypervisor(known string) string {
	if out, err := exec.Command("systemd-detect-virt", "--vm").Output(); err == nil { // "none" comes with an error
		return strings.TrimSpace(string(out))
	}
	var words []string
	for _, f := range []string{"sys_vendor", "product_name"} {
		if w := line("/sys/class/dmi/id/" + f); w != "" && known != "" {
			words = append(words, w)
		}
	}
	if len(words) > 0 {
		return strings.Join(words, " ")
	}
	return known
}

// mitigations returns what the kernel does against faults of this CPU: "spectre_v2: Retpolines; …". Those that the CPU does not have, or
// that nothing is done about, are left out.
func mitigations(dir string) string {
	files, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return ""
	}
	var active []string
	for _, f := range files {
		if m, ok := strings.CutPrefix(line(filepath.Join(dir, f.Name())), "Mitigation: "); ok {
			active = append(active, f.Name()+": "+m)
		}
	}
	if len(active) == 0 && len(files) > 0 {
		return "none of " + strconv.Itoa(len(files))
	}
	return strings.Join(active, "; ")
}
