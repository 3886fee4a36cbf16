// SPDX-License-Identifier: Apache-2.0
#include "series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void series_add(struct series *s, double us)
{
	if (s->n < SERIES_MAX)
		s->us[s->n++] = us;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double series_quantile(const struct series *s, double part)
{
	double sorted[SERIES_MAX];

	if (s->n == 0)
		return 0;
	memcpy(sorted, s->us, s->n * sizeof(sorted[0]));
	qsort(sorted, s->n, sizeof(sorted[0]), by_size);
	return sorted[MIN((unsigned)(part * s->n), s->n - 1)];
}

static void print_ratio(const struct series *s, const struct ratio *r)
{
	double ours = series_quantile(s, 0.5), theirs = series_quantile(r->to, 0.5);
	double value = r->is_speedup ? theirs / ours : ours / theirs;

	if (ours == 0 || theirs == 0)
		return;
	printf(",\"%s\":%.2f", r->name, value);
	if (r->goal > 0)
		printf(",\"%s_goal\":%.2f,\"%s_met\":%s", r->name, r->goal, r->name,
			(r->is_speedup ? value >= r->goal : value <= r->goal) ? "true" : "false");
}

void series_print(const char *bench, const struct series *s, const struct ratio ratios[RATIOS_MAX])
{
	printf("{\"bench\":\"%s\",\"what\":\"%s\",\"n\":%u,\"median_us\":%.0f,\"p99_us\":%.0f",
		bench, s->what, s->n, series_quantile(s, 0.5), series_quantile(s, 0.99));
	for (unsigned i = 0; ratios && i < RATIOS_MAX && ratios[i].name; i++)
		print_ratio(s, &ratios[i]);
	printf("}\n");
	fflush(stdout);
}
