"""Images generated with small networks, and a global one only when it matters: training, recovery, four schedules."""
