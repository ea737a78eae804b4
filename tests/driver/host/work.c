// SPDX-License-Identifier: GPL-2.0
/* Work items: one after the other, when a story lets them. */
#include "host.h"

#define MOST_WORKS 8

bool tasks_frozen;
unsigned long last_delay;
static struct task_struct worker;
static struct workqueue_struct only_queue;
static int queue_flags;
static struct work_struct *works[MOST_WORKS];

struct workqueue_struct *alloc_workqueue(const char *name, int flags, int most)
{
	queue_flags = flags;
	return &only_queue;
}

static void due(struct work_struct *work, bool later)
{
	unsigned int i = 0;

	while (works[i] && works[i] != work)
		i++;
	works[i] = work;
	work->due = !later;
	work->later = later;
}

void queue_work(struct workqueue_struct *queue, struct work_struct *work)
{
	due(work, false);
}

void mod_delayed_work(struct workqueue_struct *queue, struct delayed_work *work,
		      unsigned long delay)
{
	due(&work->work, delay > 0);
	if (delay)
		last_delay = delay;
}

void queue_delayed_work(struct workqueue_struct *queue, struct delayed_work *work,
			unsigned long delay)
{
	if (!work->work.due && !work->work.later)
		mod_delayed_work(queue, work, delay);
}

/*
 * What is due when the device was pulled out has begun before, and waits for it; its end is
 * awaited here.
 */
void cancel_work_sync(struct work_struct *work)
{
	bool runs = gone && work->due;

	work->due = work->later = false;
	if (!runs)
		return;
	since_before = true;
	work->does(work);
	since_before = false;
	work->due = work->later = false; /* it may have queued itself once more */
}

void destroy_workqueue(struct workqueue_struct *queue)
{
	if (is_due() || waits())
		complain("work is left when its queue goes", 0);
}

/* Every work item that is due, until none is. */
void let_work(void)
{
	struct task_struct *was = current;
	bool again = true;

	current = &worker;
	while (again) {
		again = false;
		for (unsigned int i = 0; i < MOST_WORKS && works[i]; i++) {
			if (!works[i]->due || (tasks_frozen && queue_flags & WQ_FREEZABLE))
				continue;
			works[i]->due = false;
			works[i]->does(works[i]);
			again = true;
		}
	}
	current = was;
}

/* What waits for its time has waited long enough. */
void let_time_pass(void)
{
	for (unsigned int i = 0; i < MOST_WORKS && works[i]; i++) {
		works[i]->due |= works[i]->later;
		works[i]->later = false;
	}
	let_work();
}

bool is_due(void)
{
	for (unsigned int i = 0; i < MOST_WORKS && works[i]; i++)
		if (works[i]->due)
			return true;
	return false;
}

bool waits(void)
{
	for (unsigned int i = 0; i < MOST_WORKS && works[i]; i++)
		if (works[i]->later)
			return true;
	return false;
}
