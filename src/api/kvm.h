// SPDX-License-Identifier: Apache-2.0
/* /dev/kvm as the library needs it: opened for the VMM, and tried out. Any thread. */
#pragma once

#include "base/err.h"

#define KVM_PATH "/dev/kvm"

/* Opens the device. Returns a descriptor; -EACCES, or -ENODEV when it is missing or is no KVM of
 * the one API version that there is, each with what to do about it. */
int kvm_open(const char *path, struct err *e) MUST_CHECK;

/* Runs the tiny guest on it in a VMM process. 0: Linux guests can run; -ENODEV they cannot. */
int kvm_probe(int kvm_fd, struct err *e) MUST_CHECK;

/* The same, but believes a success that was noted earlier since this host started, for this very
 * device and VMM program. Failures are never noted: they are worth another look. */
int kvm_probe_once(int kvm_fd, struct err *e) MUST_CHECK;
