// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"

#include <stdio.h>
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

void progress_start_timings(struct progress *p, const struct sm_vm *vm)
{
	struct sm_start_timings t;

	if (!p->is_verbose)
		return;
	sm_vm_timings(vm, &t);
	line("  spawn, configure", (double)t.spawn_us / 1e3);
	line("  VMM: guest memory", (double)t.memory_us / 1e3);
	line("  VMM: hypervisor", (double)t.hypervisor_us / 1e3);
	line("  VMM: kernel", (double)t.kernel_us / 1e3);
	line("  VMM: devices", (double)t.devices_us / 1e3);
	line("  VMM: vCPUs", (double)t.vcpus_us / 1e3);
	line("  VMM: in all", (double)t.vmm_us / 1e3);
	line("  guest boot to agent", (double)t.agent_us / 1e3);
}
