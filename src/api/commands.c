// SPDX-License-Identifier: Apache-2.0
#include "api/commands.h"

#include <stdio.h>
#include <string.h>

#include "base/cc.h"

void commands_init(struct commands *c)
{
	(void)pthread_mutex_init(&c->lock, NULL);
	c->n = 0;
}

void commands_fini(struct commands *c)
{
	(void)pthread_mutex_destroy(&c->lock);
}

/* With the lock. */
static struct command *find(struct commands *c, int pid)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->items[i].pid == pid)
			return &c->items[i];
	return NULL;
}

void commands_add(struct commands *c, int pid, const char *name)
{
	struct command *at;

	pthread_mutex_lock(&c->lock);
	at = find(c, pid);
	if (!at && c->n < COMMANDS_MAX)
		at = &c->items[c->n++];
	if (at) {
		at->pid = pid;
		snprintf(at->name, sizeof(at->name), "%s", name);
	}
	pthread_mutex_unlock(&c->lock);
}

void commands_remove(struct commands *c, int pid)
{
	struct command *at;

	pthread_mutex_lock(&c->lock);
	at = find(c, pid);
	if (at)
		*at = c->items[--c->n];
	pthread_mutex_unlock(&c->lock);
}

unsigned commands_copy(struct commands *c, struct command ret[COMMANDS_MAX])
{
	unsigned n;

	pthread_mutex_lock(&c->lock);
	n = c->n;
	memcpy(ret, c->items, n * sizeof(*ret));
	pthread_mutex_unlock(&c->lock);
	return n;
}

void commands_set(struct commands *c, const struct command *items, unsigned n)
{
	pthread_mutex_lock(&c->lock);
	c->n = MIN(n, (unsigned)COMMANDS_MAX);
	if (c->n)
		memcpy(c->items, items, c->n * sizeof(*items));
	pthread_mutex_unlock(&c->lock);
}
