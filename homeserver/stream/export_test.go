package stream

import "context"

// Learn reads the log as learnLoop does.
func (s *Stream) Learn(ctx context.Context) error { return s.learn(ctx) }

// NeverScan makes Touched ask for each topic when it asks the database.
func (s *Stream) NeverScan() { s.scan = 0 }

// TailSize counts what the tail holds.
func (s *Stream) TailSize() (topics, marks, waiters int) {
	s.tail.mu.RLock()
	defer s.tail.mu.RUnlock()
	for _, x := range s.topics {
		marks += len(x.marks)
		waiters += len(x.waiters)
	}
	return len(s.topics), marks, waiters
}
