// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/out.h"

enum { DIGEST_SHOWN = 19 }; /* "sha256:" and twelve characters */

void progress_init(struct progress *p, bool is_verbose)
{
	uint64_t now = clock_now_ns();

	*p = (struct progress){.is_verbose = is_verbose,
		.is_terminal = isatty(STDERR_FILENO),
		.step_ns = now,
		.begin_ns = now};
}

void progress_clear(struct progress *p)
{
	if (p->has_line)
		fputs("\r\033[K", stderr);
	p->has_line = false;
}

static void show(const struct sm_progress *s, void *context)
{
	struct progress *p = context;
	char size[16];

	out_size(s->stage == SM_PROGRESS_LAYER ? s->done_bytes : s->total_bytes, size);
	if (s->stage == SM_PROGRESS_LAYER && p->is_terminal) {
		int percent = s->total_bytes ? (int)(s->done_bytes * 100 / s->total_bytes) : 0;

		fprintf(stderr, "\r\033[Kconverting %.*s  %s  %d%%", DIGEST_SHOWN, s->object, size,
			percent);
		p->has_line = true;
	} else if (s->stage == SM_PROGRESS_LAYER_DONE && (p->is_verbose || p->is_terminal)) {
		progress_clear(p);
		fprintf(stderr, "converted %.*s  %s\n", DIGEST_SHOWN, s->object, size);
	}
}

struct sm_image_options progress_image_options(struct progress *p)
{
	return (struct sm_image_options){.size = sizeof(struct sm_image_options),
		.progress = p->is_verbose || p->is_terminal ? show : NULL,
		.progress_context = p};
}

static void line(const char *name, double ms)
{
	fprintf(stderr, "supermachine: %-22s %10.3f ms\n", name, ms);
}

void progress_step(struct progress *p, const char *name)
{
	uint64_t now = clock_now_ns();

	progress_clear(p);
	if (p->is_verbose)
		line(name, (double)(now - p->step_ns) / 1e6);
	p->step_ns = now;
}

struct timing {
	const char *name;
	size_t at;
	const char *title; /* NULL: not worth a line */
};

#define TIMING(field, title)                                                                       \
	{                                                                                          \
#field, offsetof(struct sm_start_timings, field), title                            \
	}

/* Every duration of struct sm_start_timings, in the order in which things happen. */
static const struct timing timings[] = {
	TIMING(spawn_us, "  spawn, configure"),
	TIMING(memory_us, "  VMM: guest memory"),
	TIMING(hypervisor_us, "  VMM: hypervisor"),
	TIMING(kernel_us, "  VMM: kernel"),
	TIMING(state_us, "  VMM: read the state"),
	TIMING(ram_copy_us, "  VMM: copy memory"),
	TIMING(irqchip_us, "  VMM: irqchip"),
	TIMING(vcpu_restore_us, "  VMM: vCPU state"),
	TIMING(clock_us, "  VMM: clocks"),
	TIMING(mmio_restore_us, "  VMM: device state"),
	TIMING(listener_restore_us, "  VMM: listeners"),
	TIMING(devices_us, "  VMM: devices"),
	TIMING(vcpus_us, "  VMM: vCPUs"),
	TIMING(vmm_us, "  VMM: in all"),
	TIMING(agent_us, "  guest boot to agent"),
	TIMING(resume_guest_us, "    in the guest"),
	TIMING(total_us, NULL),
};

static uint64_t microseconds(const struct sm_start_timings *t, const struct timing *which)
{
	uint64_t us;

	memcpy(&us, (const char *)t + which->at, sizeof(us));
	return us;
}

void progress_start_timings(const struct progress *p, const struct sm_start_timings *t)
{
	for (size_t i = 0; p->is_verbose && i < ARRAY_LEN(timings); i++) {
		const char *title = timings[i].title;
		uint64_t us = microseconds(t, &timings[i]);

		if (title && timings[i].at == offsetof(struct sm_start_timings, agent_us) &&
			t->is_restored)
			title = "  guest resumes";
		if (title && us)
			line(title, (double)us / 1e3);
	}
}

void progress_json_timings(const struct sm_start_timings *t, FILE *to)
{
	struct out_json j = {.to = to};

	out_json_open(&j, NULL, '{');
	out_json_number(&j, "is_restored", t->is_restored);
	for (size_t i = 0; i < ARRAY_LEN(timings); i++)
		out_json_number(&j, timings[i].name, (int64_t)microseconds(t, &timings[i]));
	out_json_close(&j, '}');
	fputc('\n', to);
}

void progress_notice(const struct sm_notice *notice, void *context)
{
	struct progress *p = context;

	progress_clear(p);
	fprintf(stderr, "supermachine: %s%s: %s\n", notice->kind == SM_NOTICE_BAKE ? "baking " : "",
		p->image, notice->text);
}
