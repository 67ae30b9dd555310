/* The board's side of the MLPerf Tiny protocol, and hil's optional verbs (docs/protocol.md). */
#ifndef HIL_PROTOCOL_H
#define HIL_PROTOCOL_H

/* A build for energy measurements sets a pin at timestamps and prints no laps. */
#ifndef ENERGY_MODE
#define ENERGY_MODE 0
#endif

/* The board's clock is virtual: its figures are no measurements. */
#ifndef EMULATED
#define EMULATED 0
#endif

/* The lines after a start. */
void protocol_boot(void);

/* One byte from the host; answers when it ends a command. */
void protocol_feed(int byte);

#endif
