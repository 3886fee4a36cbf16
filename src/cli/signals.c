// SPDX-License-Identifier: Apache-2.0
#include "cli/signals.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define GRACE_NS ((uint64_t)10 * 1000000000)

static void collect_set(sigset_t *set)
{
	static const int wanted[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
	struct sigaction sa;

	sigemptyset(set);
	/* nohup and shells without job control ignore some on purpose. */
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		if (sigaction(wanted[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
			sigaddset(set, wanted[i]);
}

static bool is_insisting(struct signals *s, int number)
{
	uint64_t now = clock_now_ns();
	bool is_second;

	if (number != SIGINT)
		return false;
	is_second = s->interrupted_ns && now - s->interrupted_ns < GRACE_NS;
	s->interrupted_ns = now;
	return is_second;
}

static void pass_on(struct signals *s, int number)
{
	const struct sm_stop_options force = {.size = sizeof(force), .is_forced = 1};

	if (!is_insisting(s, number)) {
		/* It may have ended meanwhile: then there is nobody to tell. */
		(void)sm_exec_signal(s->exec, number, NULL);
		return;
	}
	s->forced_by = number;
	(void)sm_vm_stop(s->vm, &force, NULL);
}

static void *wait_for_signals(void *context)
{
	struct signals *s = context;
	int number;

	for (;;) {
		if (sigwait(&s->set, &number))
			return NULL;
		pthread_mutex_lock(&s->lock);
		if (s->phase == SIGNALS_STARTING)
			_exit(128 + number);
		if (s->phase == SIGNALS_RUNNING)
			pass_on(s, number);
		pthread_mutex_unlock(&s->lock);
	}
}

int signals_start(struct signals *s, struct err *e)
{
	pthread_t thread;
	int r;

	*s = (struct signals){.phase = SIGNALS_STARTING};
	(void)pthread_mutex_init(&s->lock, NULL);
	collect_set(&s->set);
	(void)pthread_sigmask(SIG_BLOCK, &s->set, &s->before);
	r = pthread_create(&thread, NULL, wait_for_signals, s);
	if (r) {
		signals_restore(s);
		return err_set(e, -r, "cannot create a thread: %s", strerror(r));
	}
	(void)pthread_detach(thread);
	return 0;
}

void signals_attach(struct signals *s, struct sm_vm *vm, struct sm_exec *exec)
{
	pthread_mutex_lock(&s->lock);
	s->vm = vm;
	s->exec = exec;
	s->phase = SIGNALS_RUNNING;
	pthread_mutex_unlock(&s->lock);
}

int signals_detach(struct signals *s)
{
	int forced_by;

	pthread_mutex_lock(&s->lock);
	s->phase = SIGNALS_ENDING;
	forced_by = s->forced_by;
	pthread_mutex_unlock(&s->lock);
	return forced_by;
}

void signals_restore(const struct signals *s)
{
	(void)pthread_sigmask(SIG_SETMASK, &s->before, NULL);
}
