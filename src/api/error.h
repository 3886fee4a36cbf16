// SPDX-License-Identifier: Apache-2.0
/*
 * From the errors of the inside (errno codes) to those of the public header. Inside src/api the
 * codes that errno has no word for are: -ESHUTDOWN the VM is gone, -EPROTO and -ECONNABORTED the
 * guest misbehaved, -ENODEV and -ENXIO the hypervisor, -ENOEXEC a command that cannot be executed.
 */
#pragma once

#include <supermachine.h>

#include "base/err.h"

/* What a negative errno is called outside. */
enum sm_code error_code(int negative_errno);

/* Copies e into *out, unless out is NULL, and returns the public code. e->code must be negative. */
int error_out(struct sm_error *out, const struct err *e);

/* The same under the given public code. */
int error_out_as(struct sm_error *out, const struct err *e, enum sm_code code);
