#!/usr/bin/env bats
# Tiny guests whose clocks must go on where they stood: they need KVM's TSC offsets, which not every KVM has.
load common.bash

tiny() { # tiny PROGRAM [ARG]: skips where the program does
	status=0
	"${SM%/*}/tests/$1" ${2+"$2"} || status=$?
	[ $status != 77 ] || skip "this KVM has no TSC offsets"
	[ $status = 0 ]
}

@test "KVM's TSC offsets are what we take them for" { tiny platform/platform_tsc_offset; }
@test "TSC and kvmclock of a tiny guest go on where they stood" { tiny guest/guest_snapshot_clock; }
@test "the same where the TSC has to be written" { tiny guest/guest_snapshot_clock written; }
