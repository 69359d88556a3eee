/** Lets one waiter sleep until something happens. A notification that comes while nobody waits is kept (one, not a count). */

export class Wakeup {
  private notified = false;
  private resolve: (() => void) | null = null;

  notify(): void {
    const { resolve } = this;
    if (resolve === null) {
      this.notified = true;
      return;
    }
    this.resolve = null;
    resolve();
  }

  /** At most one waiter at a time. */
  wait(): Promise<void> {
    if (this.notified) {
      this.notified = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.resolve = resolve;
    });
  }
}
