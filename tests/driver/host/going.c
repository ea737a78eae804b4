// SPDX-License-Identifier: GPL-2.0
/* Stories of a device that goes, for a time or for good, while something else happens. main() removes the driver. */
#include "host.h"

/* The host asks for statistics; asks before its device goes, and nobody has answered; asks while it goes. */
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

/* The device is pulled out while the host is being told what reclaim took. */
void pulled(void)
{
	decide(1000);
	reclaim(300);
	gone = true;
}

/* A sleep begins while the guest is given less than it should give, and has not yet followed a new decision. */
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
