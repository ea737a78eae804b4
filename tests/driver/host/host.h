/* SPDX-License-Identifier: GPL-2.0 */
/* The host (device.c) as stories.c uses it. */
#ifndef HOST_H
#define HOST_H

#include "balloon.h"

#define PAGES 20480UL

extern struct virtio_driver *const the_driver;
extern struct virtio_device vdev;
extern bool believed[PAGES]; /* in the balloon, as the host sees it */
extern bool taken[PAGES]; /* in the balloon, or on its way there, as the driver has it */
extern bool asks_at_the_end; /* reclaim asks the driver when there is no page left for it */
extern bool gone, shut, since_before, woken;
extern bool tasks_frozen; /* and the queues of work that go with them */
extern unsigned long wrongs, last_delay, turns, last_put, readings;

/* What happens once at that place, as if another processor did it. */
enum place {
	TAKING, /* the driver takes a page */
	WAITING, /* it waits for the host */
	PUTTING, /* it has just put pages into the balloon's list */
	RESTING, /* it sleeps for a while */
	LOCKING, /* it is about to take a spinlock, and has taken `locks_before` since */
	PLACES
};
extern void (*meanwhile[PLACES])(void);
extern unsigned int locks_before;
void let_happen(enum place place);

void begin_host(unsigned long bits);
void expect(const char *what, unsigned long is, unsigned long should);
void let_work(void); /* every work item that is due, until none is */
void let_time_pass(void); /* what waits for its time has waited long enough */
bool waits(void); /* a work item for its time */
bool is_due(void); /* a work item */
void ask(void); /* for statistics */
void del_vqs(struct virtio_device *of);
unsigned long reclaim(unsigned long pages);
unsigned long countable(void); /* pages, by the driver's word to reclaim */
unsigned long countable_to_all(void); /* the same to who does not reclaim */
/* Reclaim at that priority, of which 0 is its last: how many pages were freed. */
unsigned long shrink_slab(int priority);
/* Reclaim that wants so many and finds none but the driver's: how many were freed. */
unsigned long reclaim_at_least(unsigned long pages);
bool can_ask(void); /* reclaim, or who is about to kill a process, the driver for pages */
bool managed_rightly(void); /* pages in the balloon are memory of the guest just if bit 2 says so */
unsigned long before_a_kill(void);
unsigned long count(const bool *of);

/* stories.c, for those in going.c, and these */
void decide(u32 pages);
void has(const char *when, unsigned long pages);
void asked(void);
void changed(void);
void pulled(void);
void interrupted(void);
void slept(void);
void frozen(void);
void unheard(void);
void rebooted(void);
void aside(void);

#endif
