# What every end-to-end test needs. Run by tools/test inside the emulated host, or on a host whose KVM runs Linux.
#   SM        the command            IMAGES   directory with the OCI layouts busybox, debian, nasty
#   KERNELS   directory of the guest kernels
bats_require_minimum_version 1.5.0
export SUPERMACHINE_EMULATE=never
# What is large or sparse is in memory where the emulated host offers that.
SCRATCH_TOP=/run/supermachine-scratch
[ -d "$SCRATCH_TOP" ] || SCRATCH_TOP=$BATS_RUN_TMPDIR

# sm ARG...: supermachine with a time limit; stdout in $output, stderr in $stderr, exit status in $status
sm() {
	run --separate-stderr timeout -k 5 "${LIMIT:-60}" "$SM" "$@"
}

busybox() { # busybox [OPTION...] -- CMD...: in the busybox image
	local options=()
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	sm run "${options[@]}" "oci:$IMAGES/busybox" "$@"
}

scratch() { # makes $SCRATCH, a directory of this file's tests; remove it with clean_scratch
	SCRATCH=$SCRATCH_TOP/${BATS_TEST_FILENAME##*/}
	mkdir -p "$SCRATCH"
	export SCRATCH
}

clean_scratch() { rm -rf "$SCRATCH"; }

timing() { # timing FIELD: of the --timings line in $stderr
	sed -n "s/^{.*\"$1\":\([0-9]*\).*/\1/p" <<< "$stderr"
}

await() { # await CMD...: until it succeeds, at most a minute
	local i
	for i in $(seq 600); do "$@" && return; sleep 0.1; done
	echo "waited a minute for: $*" >&2
	return 1
}

lines() { wc -l < "$1"; }
has_lines() { [ "$(lines "$1")" -ge "$2" ]; } # has_lines FILE NUMBER

end() { # end PID...: ends `supermachine` processes in the background
	kill -KILL "$@" 2> /dev/null || true
	wait "$@" 2> /dev/null || true
}

no_vmm_left() { # nothing of ours runs any more
	local i
	for i in 1 2 3 4 5 6 7 8 9 10; do
		pgrep -x supermachine-vm > /dev/null || return 0
		sleep 0.1
	done
	ps axo pid,args | grep supermachine-vmm >&2
	return 1
}

show() { # printed by bats when the test fails
	echo "status: $status"
	echo "stdout: $output"
	echo "stderr: $stderr"
}
