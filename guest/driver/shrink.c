// SPDX-License-Identifier: GPL-2.0
/*
 * Giving pages back when reclaim asks, and before the guest kills a process.
 *
 * Exactly what is asked for is freed: min(pages asked, pages held), both in kernel pages. Reclaim
 * never waits for the host: pages are freed first and told by a work item; where the host must be
 * told first (MUST_TELL_HOST), nothing is freed in reclaim and the work item does it. Who is about
 * to kill a process has nobody left to leave it to, and does wait for such a host.
 */
#include "balloon.h"
#include "compat.h"

#include <linux/oom.h>
#include <linux/virtio_config.h>

/* Freed each time when the guest is about to kill a process: 1 MiB, or a 64th of the balloon. */
#define OOM_PAGES (SZ_1M >> PAGE_SHIFT)
#define OOM_PART 64

static void remember(struct balloon *b, unsigned long asked, unsigned long freed)
{
	struct counters *c = &b->counters;
	unsigned int slot = (unsigned int)((u64)(atomic64_inc_return(&c->calls) - 1) % REMEMBERED);

	c->last[slot].asked = asked;
	c->last[slot].freed = freed;
	atomic64_add((s64)asked, &c->asked);
	atomic64_add((s64)freed, &c->freed);
}

/* Take `pages` pages back for the guest; how many were freed before it returned. */
static unsigned long take_back(struct balloon *b, unsigned long pages, enum asker who)
{
	unsigned long flags, freed;

	if (b->must_tell) {
		freed = who == BY_OOM ? balloon_deflate(b, pages, who) : 0;
		if (freed)
			return freed;
		if (who != BY_RECLAIM) {
			spin_lock_irqsave(&b->books, flags);
		} else if (!spin_trylock_irqsave(&b->books, flags)) {
			atomic64_inc(&b->counters.busy);
			return 0;
		}
		/* It asks for the same need again and again until the host has been told. */
		b->owed = max(b->owed, min(pages, b->held));
		if (!b->leaving)
			mod_delayed_work(b->workers, &b->resize, 0);
		spin_unlock_irqrestore(&b->books, flags);
		return 0;
	}
	return balloon_free_first(b, pages, 0, who);
}

/* The shrinker's scan function, also called by the test build's debugfs file. */
unsigned long balloon_scan(struct balloon *b, unsigned long pages)
{
	unsigned long freed;

	if (READ_ONCE(b->inflater) == current) {
		atomic64_inc(&b->counters.own);
		return SHRINK_STOP;
	}
	freed = take_back(b, pages, BY_RECLAIM);
	compat_reclaimed(freed);
	remember(b, pages, freed);
	return freed ? freed : SHRINK_STOP;
}

/* In mode pressure the reclaim of every day gets nothing. */
static bool is_calm(struct balloon *b)
{
	if (READ_ONCE(b->when) != DEFLATE_PRESSURE || balloon_in_trouble())
		return false;
	atomic64_inc(&b->counters.calm);
	return true;
}

static unsigned long count_objects(struct shrinker *shrinker, struct shrink_control *control)
{
	struct balloon *b = compat_shrinker_owner(shrinker);

	atomic64_inc(&b->counters.counts);
	/* Every reclaim has a state; drop_caches has none, and asks until nothing is left. */
	if (!current->reclaim_state || READ_ONCE(b->inflater) == current || is_calm(b))
		return 0;
	return READ_ONCE(b->held);
}

static unsigned long scan_objects(struct shrinker *shrinker, struct shrink_control *control)
{
	struct balloon *b = compat_shrinker_owner(shrinker);
	unsigned long freed;

	/* Reclaim counts once and may then ask for all, also when a batch has ended the trouble. */
	freed = is_calm(b) ? SHRINK_STOP : balloon_scan(b, control->nr_to_scan);
	control->nr_scanned = freed == SHRINK_STOP ? 0 : freed;
	return freed;
}

static int before_oom_kill(struct notifier_block *block, unsigned long unused, void *freed_pages)
{
	struct balloon *b = container_of(block, struct balloon, on_oom);
	unsigned long pages = max_t(unsigned long, OOM_PAGES, READ_ONCE(b->held) / OOM_PART);
	unsigned long freed = take_back(b, pages, BY_OOM);

	b->counters.oom_calls++;
	b->counters.oom_freed += freed;
	*(unsigned long *)freed_pages += freed;
	return NOTIFY_OK;
}

int balloon_shrink_start(struct balloon *b)
{
	int err;

	if (b->when == DEFLATE_OFF || !virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_DEFLATE_ON_OOM))
		return 0;
	b->shrinker = compat_shrinker_start(b, count_objects, scan_objects);
	if (IS_ERR(b->shrinker)) {
		err = PTR_ERR(b->shrinker);
		b->shrinker = NULL;
		return err;
	}
	b->on_oom.notifier_call = before_oom_kill;
	err = register_oom_notifier(&b->on_oom);
	if (err) {
		b->on_oom.notifier_call = NULL;
		balloon_shrink_stop(b);
	}
	return err;
}

void balloon_shrink_stop(struct balloon *b)
{
	if (b->on_oom.notifier_call)
		unregister_oom_notifier(&b->on_oom);
	b->on_oom.notifier_call = NULL;
	if (b->shrinker)
		compat_shrinker_stop(b->shrinker);
	b->shrinker = NULL;
}
