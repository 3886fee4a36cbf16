// SPDX-License-Identifier: Apache-2.0
#include "vmm/coord.h"

void coord_init(struct coord *c, unsigned n_vcpus, coord_kick_fn kick, void *context)
{
	*c = (struct coord){
		.state = COORD_PAUSED,
		.n_vcpus = n_vcpus,
		.on = 1,
		.kick = kick,
		.context = context,
	};
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
}

void coord_fini(struct coord *c)
{
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
}

bool coord_gate(struct coord *c)
{
	bool may_enter;

	pthread_mutex_lock(&c->lock);
	c->n_waiting++;
	if (c->state != COORD_RUNNING)
		pthread_cond_broadcast(&c->changed);
	while (c->state == COORD_PAUSED)
		pthread_cond_wait(&c->changed, &c->lock);
	c->n_waiting--;
	may_enter = c->state == COORD_RUNNING;
	pthread_mutex_unlock(&c->lock);
	return may_enter;
}

void coord_leave(struct coord *c)
{
	pthread_mutex_lock(&c->lock);
	c->n_left++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

void coord_mark_on(struct coord *c, unsigned index)
{
	pthread_mutex_lock(&c->lock);
	c->on |= 1u << index;
	pthread_mutex_unlock(&c->lock);
}

uint32_t coord_on_mask(struct coord *c)
{
	uint32_t on;

	pthread_mutex_lock(&c->lock);
	on = c->on;
	pthread_mutex_unlock(&c->lock);
	return on;
}

/* A kick that comes before the vCPU enters the guest makes that entry return at once, so one kick
 * after the state change is enough. */
static void kick_all(struct coord *c)
{
	for (unsigned i = 0; i < c->n_vcpus; i++)
		c->kick(c->context, i);
}

void coord_pause(struct coord *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->state == COORD_RUNNING) {
		c->state = COORD_PAUSED;
		kick_all(c);
	}
	while (c->state == COORD_PAUSED && c->n_waiting + c->n_left < c->n_vcpus)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

void coord_resume(struct coord *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->state == COORD_PAUSED)
		c->state = COORD_RUNNING;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

void coord_stop(struct coord *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->state == COORD_RUNNING)
		kick_all(c);
	c->state = COORD_STOPPING;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}
