/* SPDX-License-Identifier: GPL-2.0 */
/* What differs between the kernels that this driver is built for: 6.1 and 6.12. */
#ifndef AUTOBALLOON_COMPAT_H
#define AUTOBALLOON_COMPAT_H

#include <linux/err.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/version.h>
#include <linux/virtio_config.h>

typedef unsigned long (*compat_shrink_fn)(struct shrinker *, struct shrink_control *);

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)

static inline void *compat_shrinker_owner(struct shrinker *shrinker)
{
	return shrinker->private_data;
}

static inline struct shrinker *compat_shrinker_start(void *owner, compat_shrink_fn count,
						     compat_shrink_fn scan)
{
	struct shrinker *shrinker = shrinker_alloc(0, "autoballoon");

	if (!shrinker)
		return ERR_PTR(-ENOMEM);
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker->private_data = owner;
	shrinker_register(shrinker);
	return shrinker;
}

static inline void compat_shrinker_stop(struct shrinker *shrinker)
{
	shrinker_free(shrinker);
}

#else

struct compat_shrinker {
	struct shrinker shrinker;
	void *owner;
};

static inline void *compat_shrinker_owner(struct shrinker *shrinker)
{
	return container_of(shrinker, struct compat_shrinker, shrinker)->owner;
}

static inline struct shrinker *compat_shrinker_start(void *owner, compat_shrink_fn count,
						     compat_shrink_fn scan)
{
	struct compat_shrinker *one = kzalloc(sizeof(*one), GFP_KERNEL);
	int err;

	if (!one)
		return ERR_PTR(-ENOMEM);
	one->owner = owner;
	one->shrinker.count_objects = count;
	one->shrinker.scan_objects = scan;
	one->shrinker.seeks = DEFAULT_SEEKS;
	err = register_shrinker(&one->shrinker, "autoballoon");
	if (err) {
		kfree(one);
		return ERR_PTR(err);
	}
	return &one->shrinker;
}

static inline void compat_shrinker_stop(struct shrinker *shrinker)
{
	unregister_shrinker(shrinker);
	kfree(container_of(shrinker, struct compat_shrinker, shrinker));
}

#endif

/*
 * Reclaim goes by the pages that are credited to it, not by what a scan function returns: where too
 * few are, it asks for ever more, and swaps. Who does not reclaim (the test build's file) has no
 * credit.
 */
static inline void compat_reclaimed(unsigned long pages)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	mm_account_reclaimed_pages(pages);
#else
	if (current->reclaim_state)
		current->reclaim_state->reclaimed_slab += pages;
#endif
}

/*
 * A page that compaction has taken out of the balloon's list is none of the balloon's any more. The
 * kernel's own name for it, balloon_page_finalize(), is as young as 6.1.160.
 */
static inline void compat_page_leaves(struct page *page)
{
	__ClearPageMovable(page);
	set_page_private(page, 0);
	__ClearPageOffline(page);
}

/* The device's queues, one after the other. */
static inline int compat_find_vqs(struct virtio_device *vdev, unsigned int n,
				  struct virtqueue *vqs[], vq_callback_t *callbacks[],
				  const char *const names[])
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	struct virtqueue_info info[8] = {};
	unsigned int i;

	if (n > ARRAY_SIZE(info))
		return -EINVAL;
	for (i = 0; i < n; i++) {
		info[i].name = names[i];
		info[i].callback = callbacks[i];
	}
	return virtio_find_vqs(vdev, n, vqs, info, NULL);
#else
	return virtio_find_vqs(vdev, n, vqs, callbacks, names, NULL);
#endif
}

#endif
