// SPDX-License-Identifier: Apache-2.0
/* Who the guest is: its name and its loopback, and the settings that a container expects. */
#pragma once

#include "base/err.h"

int identity_set_hostname(const char *name, struct err *e) MUST_CHECK;

/* Writes /etc/hostname and /etc/hosts, as container engines do. */
int identity_write_files(const char *hostname, struct err *e) MUST_CHECK;

/* Gives the files below `etc` the new name where they have the old one; other lines of hosts stay.
 */
int identity_rename(const char *etc, const char *old, const char *new, struct err *e) MUST_CHECK;

/* Replaces etc/machine-id (machine-id(5)) where the image has one that is not empty. */
int identity_write_machine_id(const char *etc, const char *id, struct err *e) MUST_CHECK;

int identity_loopback_up(struct err *e) MUST_CHECK;

/* Kernel settings and limits that container engines give; a kernel without them is fine. */
void identity_tune(void);
