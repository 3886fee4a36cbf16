// SPDX-License-Identifier: Apache-2.0
/* Measured values of one thing, and the one JSON line that says them. */
#pragma once

#include "base/cc.h"

enum { SERIES_MAX = 4096 };

struct series {
	const char *what;
	unsigned n;
	double us[SERIES_MAX];
};

void series_add(struct series *s, double us);

/* The value that `part` (0 … 1) of all values do not exceed; 0 of an empty series. */
double series_quantile(const struct series *s, double part);

/* A comparison of medians: ours / theirs, or theirs / ours when `is_speedup`. */
struct ratio {
	const char *name; /* of the JSON field; NULL: there is none */
	const struct series *to;
	bool is_speedup;
	double goal; /* at most (at least, of a speed-up); 0: no goal */
};

enum { RATIOS_MAX = 4 };

/* Prints the line. With a goal, fields NAME_goal and NAME_met follow the ratio. */
void series_print(const char *bench, const struct series *s, const struct ratio ratios[RATIOS_MAX]);
