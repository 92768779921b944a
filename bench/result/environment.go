package result

import (
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
	env := Environment{CPUs: runtime.NumCPU(), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		env.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		env.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	env.CPU, env.Virtual = describeCPU(content("/proc/cpuinfo"))
	env.Virtual = hypervisor(env.Virtual)
	env.Governor = line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	env.Mitigations = mitigations("/sys/devices/system/cpu/vulnerabilities")
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		env.Commit = strings.TrimSpace(string(out))
	}
	return env
}

func content(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(b)
}

func line(file string) string { return strings.TrimSpace(content(file)) }

// describeCPU returns the model of the first CPU, and "yes" where it says that it is a hypervisor's.
func describeCPU(cpuinfo string) (model, virtual string) {
	for l := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(l, ":")
		switch strings.TrimSpace(key) {
		case "model name", "Model", "cpu model":
			if model == "" {
				model = strings.TrimSpace(value)
			}
		case "flags":
			if slices.Contains(strings.Fields(value), "hypervisor") {
				virtual = "yes"
			}
		}
	}
	return model, virtual
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
