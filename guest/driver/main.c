// SPDX-License-Identifier: GPL-2.0
/* Finding the device, leaving it, and sleep. */
#include "balloon.h"
#include "compat.h"

#include <linux/delay.h>
#include <linux/module.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

static int when = DEFLATE_PRESSURE;

static const char *const when_names[] = {
	[DEFLATE_OFF] = "off",
	[DEFLATE_SHRINKER] = "shrinker",
	[DEFLATE_PRESSURE] = "pressure",
};

static int when_set(const char *text, const struct kernel_param *param)
{
	int i = sysfs_match_string(when_names, text);

	if (i < 0)
		return i;
	WRITE_ONCE(when, i);
	return 0;
}

static int when_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%s\n", when_names[when]);
}

static const struct kernel_param_ops when_ops = { .set = when_set, .get = when_get };
module_param_cb(deflate, &when_ops, NULL, 0444);
MODULE_PARM_DESC(deflate, "when the guest takes memory back, if the host offers it: "
			  "pressure (default), shrinker, off");

#define MOST_QUEUES 5

static void acked(struct virtqueue *vq)
{
	struct balloon *b = vq->vdev->priv;

	wake_up(&b->acked);
}

/*
 * In the order that the specification gives the queues. One that is not there is left out and not
 * passed as a hole: both have the same meaning, and Linux 6.12 crashes where queues with a hole
 * before them are let go.
 */
static int find_queues(struct balloon *b)
{
	struct virtqueue *vqs[MOST_QUEUES], **where[MOST_QUEUES];
	vq_callback_t *callbacks[MOST_QUEUES];
	const char *names[MOST_QUEUES];
	struct virtqueue *unused;
	unsigned int n = 0;
	u64 offered;
	int err;

	names[n] = "inflate";
	callbacks[n] = acked;
	where[n++] = &b->inflate_vq;
	names[n] = "deflate";
	callbacks[n] = acked;
	where[n++] = &b->deflate_vq;
	if (virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_STATS_VQ)) {
		names[n] = "stats";
		callbacks[n] = balloon_stats_answered;
		where[n++] = &b->stats_vq;
	}
	if (virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_REPORTING)) {
		/* A host that offers hints has a queue for them, also when the driver does not. */
		offered = b->vdev->config->get_features(b->vdev);
		if (offered & BIT_ULL(VIRTIO_BALLOON_F_FREE_PAGE_HINT)) {
			names[n] = "hints";
			callbacks[n] = NULL;
			where[n++] = &unused;
		}
		names[n] = "reporting";
		callbacks[n] = acked;
		where[n++] = &b->report_vq;
	}
	err = compat_find_vqs(b->vdev, n, vqs, callbacks, names);
	if (err)
		return err;
	while (n--)
		*where[n] = vqs[n];
	return 0;
}

static void show_poison(struct balloon *b)
{
	u32 poison = 0;

	if (!virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_PAGE_POISON))
		return;
	/* init_on_free goes before poisoning: then free pages are zeros. */
	if (!want_init_on_free())
		memset(&poison, PAGE_POISON, sizeof(poison));
	virtio_cwrite_le(b->vdev, struct virtio_balloon_config, poison_val, &poison);
}

/* The queues are there: begin to work. */
static int begin(struct balloon *b)
{
	int err;

	b->must_tell = virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST);
	show_poison(b);
	virtio_device_ready(b->vdev);
	WRITE_ONCE(b->leaving, false);
	err = balloon_stats_start(b);
	if (!err)
		err = balloon_shrink_start(b);
	if (!err)
		err = balloon_report_start(b);
	if (!err)
		balloon_retarget(b);
	return err;
}

/* Nothing of ours runs any more, every page is the guest's again, and the device is reset. */
static void end(struct balloon *b)
{
	unsigned long held, moved;

	wake_up(&b->acked); /* nobody has told who waits for a device that was pulled out */
	balloon_shrink_stop(b);
	spin_lock_irq(&b->books);
	b->leaving = true; /* from here on nothing is queued */
	spin_unlock_irq(&b->books);
	balloon_report_stop(b);
	cancel_delayed_work_sync(&b->resize);
	cancel_work_sync(&b->tell);
	cancel_work_sync(&b->stats_work);

	do {
		moved = balloon_deflate(b, CHUNK_PAGES, BY_HOST);
		spin_lock_irq(&b->books);
		held = b->held;
		spin_unlock_irq(&b->books);
		if (held && !moved)
			msleep(1); /* what compaction moves just now comes back */
		cond_resched();
	} while (held);

	virtio_reset_device(b->vdev);
	b->vdev->config->del_vqs(b->vdev);
}

static void release(struct balloon *b)
{
	balloon_drop_notices(b);
	if (b->workers)
		destroy_workqueue(b->workers);
	kfree(b->stats);
	kfree(b->chunk);
	kfree(b);
}

static int balloon_probe(struct virtio_device *vdev)
{
	struct balloon *b;
	int err = -ENOMEM;

	if (!vdev->config->get) {
		dev_err(&vdev->dev, "the device has no configuration space\n");
		return -EINVAL;
	}
	b = kzalloc(sizeof(*b), GFP_KERNEL);
	if (!b)
		return -ENOMEM;
	b->vdev = vdev;
	b->when = READ_ONCE(when);
	b->cap = NO_CAP;
	init_waitqueue_head(&b->acked);
	mutex_init(&b->wire);
	spin_lock_init(&b->books);
	INIT_LIST_HEAD(&b->notices);
	INIT_LIST_HEAD(&b->untold);
	INIT_DELAYED_WORK(&b->resize, balloon_resize);
	INIT_WORK(&b->tell, balloon_tell);
	INIT_WORK(&b->stats_work, balloon_stats_work);
	balloon_devinfo_init(&b->info);
#ifdef CONFIG_BALLOON_COMPACTION
	b->info.migratepage = balloon_move_page;
#endif
	b->chunk = kcalloc(CHUNK_PAGES * PIECES_PER_PAGE, sizeof(*b->chunk), GFP_KERNEL);
	b->workers = alloc_workqueue("autoballoon", WQ_MEM_RECLAIM | WQ_UNBOUND | WQ_FREEZABLE, 0);
	if (!b->chunk || !b->workers)
		goto free;
	vdev->priv = b;
	err = find_queues(b);
	if (err)
		goto free;
	balloon_counters_start(b);
	err = begin(b);
	if (err) {
		balloon_counters_stop(b);
		end(b);
		goto free;
	}
	return 0;
free:
	release(b);
	return err;
}

static void balloon_remove(struct virtio_device *vdev)
{
	struct balloon *b = vdev->priv;

	balloon_counters_stop(b);
	end(b);
	release(b);
}

static void balloon_config_changed(struct virtio_device *vdev)
{
	balloon_retarget(vdev->priv);
}

/* Free pages must keep what the kernel put into them, or the host must not drop them. */
static int balloon_validate(struct virtio_device *vdev)
{
	if (!want_init_on_free() && !page_poisoning_enabled_static())
		__virtio_clear_bit(vdev, VIRTIO_BALLOON_F_PAGE_POISON);
	else if (!virtio_has_feature(vdev, VIRTIO_BALLOON_F_PAGE_POISON))
		__virtio_clear_bit(vdev, VIRTIO_BALLOON_F_REPORTING);
	/*
	 * Reports are the only messages of several entries, and the queue has room for all of them:
	 * a table of its own for each would take memory just when free memory is told of.
	 */
	__virtio_clear_bit(vdev, VIRTIO_RING_F_INDIRECT_DESC);
	/* Page numbers are the guest's own, whatever stands between the device and memory. */
	__virtio_clear_bit(vdev, VIRTIO_F_ACCESS_PLATFORM);
	return 0;
}

#ifdef CONFIG_PM_SLEEP
/* For a memory image or a sleep pages go back to the guest, and are asked for again afterwards. */
static int balloon_freeze(struct virtio_device *vdev)
{
	end(vdev->priv);
	return 0;
}

static int balloon_restore(struct virtio_device *vdev)
{
	struct balloon *b = vdev->priv;
	int err = find_queues(b);

	return err ? err : begin(b);
}
#endif

static const struct virtio_device_id ids[] = {
	{ VIRTIO_ID_BALLOON, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, ids);

static const unsigned int features[] = {
	VIRTIO_BALLOON_F_MUST_TELL_HOST,
	VIRTIO_BALLOON_F_STATS_VQ,
	VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
	VIRTIO_BALLOON_F_PAGE_POISON,
	VIRTIO_BALLOON_F_REPORTING,
};

static struct virtio_driver balloon_driver = {
	.feature_table = features,
	.feature_table_size = ARRAY_SIZE(features),
	.driver.name = "autoballoon",
	.driver.owner = THIS_MODULE,
	.id_table = ids,
	.validate = balloon_validate,
	.probe = balloon_probe,
	.remove = balloon_remove,
	.config_changed = balloon_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = balloon_freeze,
	.restore = balloon_restore,
#endif
};
module_virtio_driver(balloon_driver);

MODULE_DESCRIPTION("virtio balloon that deflates when its guest runs short");
MODULE_LICENSE("GPL");
