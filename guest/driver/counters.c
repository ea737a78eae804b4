// SPDX-License-Identifier: GPL-2.0
/*
 * What happened, for people and for the tests, in debugfs under autoballoon/DEVICE:
 *
 *   counters   one "name value" a line; pages are kernel pages
 *   calls      the last calls of the scan function, oldest first: asked freed
 *   scan       (test build) a number written here is given to the scan function
 */
#include "balloon.h"

#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/seq_file.h>

static int counters_show(struct seq_file *out, void *unused)
{
	struct balloon *b = out->private;
	const struct counters *c = &b->counters;
	unsigned long held, cap;

	spin_lock_irq(&b->books);
	held = b->held;
	cap = b->cap;
	spin_unlock_irq(&b->books);
	seq_printf(out, "held %lu\n", held);
	seq_printf(out, "cap %ld\n", cap == NO_CAP ? -1L : (long)cap);
	seq_printf(out, "counts %lld\n", atomic64_read(&c->counts));
	seq_printf(out, "calls %lld\n", atomic64_read(&c->calls));
	seq_printf(out, "asked %lld\n", atomic64_read(&c->asked));
	seq_printf(out, "freed %lld\n", atomic64_read(&c->freed));
	seq_printf(out, "busy %lld\n", atomic64_read(&c->busy));
	seq_printf(out, "calm %lld\n", atomic64_read(&c->calm));
	seq_printf(out, "own %lld\n", atomic64_read(&c->own));
	seq_printf(out, "oom_calls %llu\noom_freed %llu\n", c->oom_calls, c->oom_freed);
	seq_printf(out, "inflated %llu\ndeflated %llu\n", c->inflated, c->deflated);
	seq_printf(out, "puffed %llu\n", c->puffed);
	seq_printf(out, "told_late %llu\nmoved %llu\n", c->told_late, c->moved);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

static int calls_show(struct seq_file *out, void *unused)
{
	struct balloon *b = out->private;
	const struct counters *c = &b->counters;
	u64 calls = (u64)atomic64_read(&c->calls);
	u64 i = calls > REMEMBERED ? calls - REMEMBERED : 0;

	for (; i < calls; i++)
		seq_printf(out, "%lu %lu\n", c->last[i % REMEMBERED].asked,
			   c->last[i % REMEMBERED].freed);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(calls);

#ifdef AUTOBALLOON_TEST
static int scan_set(void *data, u64 pages)
{
	balloon_scan(data, (unsigned long)pages);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(scan_fops, NULL, scan_set, "%llu\n");
#endif

static struct dentry *top;
static unsigned int users;
static DEFINE_MUTEX(top_lock);

void balloon_counters_start(struct balloon *b)
{
	mutex_lock(&top_lock);
	if (!users++)
		top = debugfs_create_dir("autoballoon", NULL);
	b->dir = debugfs_create_dir(dev_name(&b->vdev->dev), top);
	mutex_unlock(&top_lock);
	debugfs_create_file("counters", 0400, b->dir, b, &counters_fops);
	debugfs_create_file("calls", 0400, b->dir, b, &calls_fops);
#ifdef AUTOBALLOON_TEST
	debugfs_create_file_unsafe("scan", 0200, b->dir, b, &scan_fops);
#endif
}

void balloon_counters_stop(struct balloon *b)
{
	mutex_lock(&top_lock);
	debugfs_remove_recursive(b->dir);
	if (!--users)
		debugfs_remove_recursive(top);
	mutex_unlock(&top_lock);
}
