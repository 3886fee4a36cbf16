// SPDX-License-Identifier: Apache-2.0
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/x86_64/boot_tables.h"
#include "base/err.h"
#include "base/fd.h"

enum { WATCHDOG_S = 10 };

void tiny_fail(const char *why, ...)
{
	va_list ap;

	va_start(ap, why);
	vfprintf(stderr, why, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void tiny_must(int r, const struct err *e)
{
	char sentence[800];

	if (r >= 0)
		return;
	err_sentence(e, sentence, sizeof(sentence));
	tiny_fail("%s", sentence);
}

void tiny_equal(const char *what, uint64_t got, uint64_t wanted)
{
	if (got != wanted)
		tiny_fail("%s is 0x%llx, not 0x%llx", what, (unsigned long long)got,
			(unsigned long long)wanted);
}

static int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("skipped: /dev/kvm: %s\n", strerror(errno));
		exit(EXIT_SKIPPED);
	}
	return fd;
}

void tiny_open_vm(struct tiny *t)
{
	struct err e = {0};

	t->kvm = open_kvm();
	tiny_must(hv_open(t->kvm, &t->hv, &e), &e);
	tiny_must(hv_map(t->hv, 0, 0, t->memory.regions[0].host, TINY_RAM_BYTES, &e), &e);
	tiny_must(hv_irqchip_init(t->hv, &e), &e);
}

static void make_vcpus(struct tiny *t)
{
	struct err e = {0};

	for (unsigned i = 0; i < t->n_vcpus; i++) {
		tiny_must(hv_vcpu_new(t->hv, i, t->n_vcpus, NULL, &t->vcpus[i], &e), &e);
		tiny_must(hv_vcpu_set_boot(t->vcpus[i], &t->start, &e), &e);
	}
}

void tiny_open(struct tiny *t, unsigned n_vcpus, const uint8_t *code, const uint8_t *code_end)
{
	const struct gmem_range ram = {0, TINY_RAM_BYTES};
	struct err e = {0};

	*t = (struct tiny){.n_vcpus = n_vcpus};
	tiny_must(gmem_init(&t->memory, &ram, 1, &e), &e);
	tiny_must(gmem_copy_out(&t->memory, TINY_CODE, code, (size_t)(code_end - code)), &e);
	tiny_must(boot_state_write(&t->memory, TINY_CODE, &t->start), &e);
	tiny_open_vm(t);
	make_vcpus(t);
}

void tiny_close(struct tiny *t)
{
	for (unsigned i = 0; i < t->n_vcpus; i++)
		hv_vcpu_free(t->vcpus[i]);
	hv_close(t->hv);
	close(t->kvm);
	gmem_fini(&t->memory);
}

struct hv_exit tiny_run(struct tiny *t, unsigned id, enum hv_exit_kind kind)
{
	struct err e = {0};
	struct hv_exit x;

	alarm(WATCHDOG_S); /* its default action ends a program that hangs */
	tiny_must(hv_vcpu_bind_thread(t->vcpus[id], &e), &e);
	tiny_must(hv_vcpu_run(t->vcpus[id], &x, &e), &e);
	alarm(0);
	if (x.kind != kind)
		tiny_fail("exit %d at 0x%llx, not exit %d", x.kind, (unsigned long long)x.address,
			kind);
	return x;
}

struct kick {
	struct hv_vcpu *vcpu;
	unsigned after_us;
};

static void *kick_later(void *p)
{
	const struct kick *k = p;

	usleep(k->after_us);
	hv_vcpu_kick(k->vcpu);
	return NULL;
}

void tiny_run_us(struct tiny *t, unsigned id, unsigned us)
{
	struct kick k = {t->vcpus[id], us};
	pthread_t thread;

	if (pthread_create(&thread, NULL, kick_later, &k) != 0)
		tiny_fail("no second thread");
	tiny_run(t, id, HV_EXIT_INTERRUPTED);
	pthread_join(thread, NULL);
}

uint64_t tiny_value(const struct hv_exit *x)
{
	uint64_t v = 0;

	memcpy(&v, x->data, x->bytes);
	return v;
}

void tiny_expect_report(struct tiny *t, unsigned id, uint64_t value, unsigned bytes)
{
	struct hv_exit x = tiny_run(t, id, HV_EXIT_PIO_OUT);

	tiny_equal("the port", x.address, TINY_PORT);
	tiny_equal("the count", x.count, 1);
	tiny_equal("the width", x.bytes, bytes);
	tiny_equal("the report", tiny_value(&x), value);
}

struct hv_exit tiny_expect_mmio(
	struct tiny *t, unsigned id, enum hv_exit_kind kind, uint64_t gpa, unsigned bytes)
{
	struct hv_exit x = tiny_run(t, id, kind);

	tiny_equal("the address", x.address, gpa);
	tiny_equal("the width", x.bytes, bytes);
	tiny_equal("the count", x.count, 1);
	return x;
}
