// Package directory helps to find rooms and people: the public room list, the hierarchy of spaces, room summaries, the
// user directory and mutual rooms.
//
// Specification: client-server API, "Listing rooms", "Spaces", "Room summary", "User Directory", "Mutual rooms"
// (cs#published-room-directory, cs#spaces, cs#user-directory); server-server API, "Public Room Directory", "Spaces".
//
// Invariants: nobody learns more of a room than somebody outside of it may (accessible); display names in the user
// directory are those of profiles, never those that a user took in one room; people are found by those who share a room
// with them, and by all when they are in a public room.
//
// What a room looks like from outside is derived from its current state and kept by the state's ID, so nothing has to
// be invalidated. The user directory is a follower of the stream.
//
// Deliberately absent: aliases, which package room owns.
package directory
