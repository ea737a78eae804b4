// SPDX-License-Identifier: GPL-2.0
/*
 * Stories of a device that goes, for a time or for good, while something else happens. main()
 * removes the driver.
 */
#include "host.h"

/*
 * The host asks for statistics; asks before its device goes, and nobody has answered; asks while
 * it goes.
 */
void asked(void)
{
	decide(1000);
	expect("readings that came unasked", readings, 1);
	ask();
	let_work();
	expect("readings after one was asked for", readings, 2);
	ask();
	meanwhile[WAITING] = ask;
}

static void change(void)
{
	vdev.space.num_pages = 2000;
	the_driver->config_changed(&vdev);
}

/* The host decides anew while it is given its pages back for good. */
void changed(void)
{
	decide(1000);
	meanwhile[WAITING] = change;
}

static void nobody_can_ask(void)
{
	expect("whether reclaim can ask while pages are given back for good", can_ask(), false);
}

/* Reclaim runs while the driver is taken out: it is not asked by then. */
void unheard(void)
{
	decide(1000);
	expect("whether reclaim can ask", can_ask(), true);
	meanwhile[WAITING] = nobody_can_ask;
}

/* The device is pulled out while the host is being told what reclaim took. */
void pulled(void)
{
	decide(1000);
	reclaim(300);
	gone = true;
}

static void shut_down(void)
{
	shut = true;
	memset(believed, 0, sizeof(believed));
}

/*
 * The guest reboots while the balloon grows: that ends with the chunk that was on its way, and the
 * device, which is to be found afresh, is not told of a size that it never saw.
 */
void rebooted(void)
{
	decide(1000);
	meanwhile[WAITING] = shut_down;
	decide(2000);
	expect("pages held when the device had been reset", count(taken), 1000 + CHUNK_PAGES);
	let_time_pass();
	expect("pages held some time later", count(taken), 1000 + CHUNK_PAGES);
	expect("what the device that was reset is told", vdev.space.actual, 1000);
	decide(500);
	expect("pages held after a last decision", count(taken), 500);
	expect("what the device that was reset is told", vdev.space.actual, 1000);
	expect("whether the guest's memory is counted as it should then", managed_rightly(), true);
}

void slept(void)
{
	decide(1000);
	the_driver->freeze(&vdev);
	has("pages while it sleeps", 0);
	the_driver->restore(&vdev);
	let_work();
	has("pages after it slept", 1000);
}

static struct page *isolated;

static void comes_back(void)
{
	struct balloon *b = vdev.priv;

	list_add(&isolated->lru, &b->info.pages);
}

/*
 * The driver is taken out while compaction has a page of its aside: it waits for that one, and not
 * by going round.
 */
void aside(void)
{
	struct balloon *b = vdev.priv;

	decide(1000);
	isolated = list_first_entry(&b->info.pages, struct page, lru);
	list_del(&isolated->lru);
	meanwhile[RESTING] = comes_back;
}

static void freeze_tasks(void)
{
	tasks_frozen = true;
}

/*
 * A sleep begins, for which the kernel first freezes tasks and work, while the balloon grows,
 * shrinks, and the host is told. It waits for what runs just then, and gives up after 20 s: so
 * that goes on for a few exchanges, and no longer.
 */
void frozen(void)
{
	bool first = !virtio_has_feature(&vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST);

	meanwhile[WAITING] = freeze_tasks;
	decide(PAGES);
	has("pages when work is frozen", TURN_EXCHANGES * CHUNK_PAGES);
	the_driver->freeze(&vdev);
	has("pages while it sleeps", 0);
	the_driver->restore(&vdev);
	let_work();
	has("pages before work goes on", 0);
	tasks_frozen = false;
	let_work();
	has("pages after it slept", PAGES);

	locks_before = 5; /* so it has begun to give pages back */
	meanwhile[first ? LOCKING : WAITING] = freeze_tasks;
	decide(0);
	expect("pages left when work is frozen", count(taken),
	       PAGES - TURN_EXCHANGES * CHUNK_PAGES);
	tasks_frozen = false;
	let_work();
	has("pages after work has gone on", 0);

	if (!first || !virtio_has_feature(&vdev, VIRTIO_BALLOON_F_DEFLATE_ON_OOM))
		return;
	decide(PAGES);
	reclaim(PAGES);
	meanwhile[WAITING] = freeze_tasks;
	let_work();
	expect("what the host still believes to have then", count(believed),
	       PAGES - TURN_EXCHANGES * NOTICE_PAGES);
	tasks_frozen = false;
	let_work();
	has("pages after all that", 0);
}

/*
 * A sleep begins while the guest is given less than it should give, and has not yet followed a new
 * decision.
 */
void interrupted(void)
{
	decide(PAGES + 1000);
	expect("whether it will try again", waits(), true);
	vdev.space.num_pages = 500;
	the_driver->config_changed(&vdev);
	the_driver->freeze(&vdev);
	expect("whether work is left for its sleep", waits() || is_due(), false);
	has("pages while it sleeps", 0);
	the_driver->restore(&vdev);
	let_work();
	has("pages after it slept", 500);
}
