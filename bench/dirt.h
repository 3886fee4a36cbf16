// SPDX-License-Identifier: Apache-2.0
/* What a VMM's process costs the host beyond its guest's memory, from /proc/PID/smaps. */
#pragma once

#include <sys/types.h>

struct dirt {
	unsigned long ram_kib;	     /* size of guest RAM */
	unsigned long ram_dirty_kib; /* of it, what the guest has written */
	unsigned long own_dirty_kib; /* everything else that is private and dirty */
};

/* Guest RAM is the largest thing that the process maps: one anonymous mapping, or all mappings of
 * one file. Ends the program when the process cannot be looked at. */
struct dirt dirt_of(pid_t pid);
