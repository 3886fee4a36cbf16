// SPDX-License-Identifier: Apache-2.0
/* The store's insides, for store.c and object.c. */
#pragma once

struct store {
	int dir_fd;
	char *path; /* absolute */
};
