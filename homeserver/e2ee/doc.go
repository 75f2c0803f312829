// Package e2ee keeps the public half of end-to-end encryption: device keys, one-time and fallback keys, cross-signing
// keys and signatures, device lists of our users and of the remote users who share rooms with them, to-device messages,
// key backups and dehydrated devices.
//
// Specification: client-server API "End-to-End Encryption", "Send-to-Device messaging", "Server-side key backups";
// server-server API "Device Management", "End-to-End Encryption", "Send-to-device messaging"; MSC3967 (first upload of
// cross-signing keys without interactive authentication), MSC4225 (order of claims), MSC3814 (dehydrated devices).
//
// Invariants:
//   - A one-time key is given out at most once: it is deleted by the statement that reads it.
//   - What is stored was checked for shape, owner and size, so nothing malformed leaves in an EDU or an answer.
//   - Every change that a client may wait for is a change of the stream: DeviceList (user, Ref ""), DeviceList with
//     Ref = another user (the user's own new signature on that user's key, told to the user alone), ToDevice (user,
//     Ref = device), KeyCount (user, Ref = device).
//   - The list of a remote user is believed only while it is followed without a gap (remote_device_lists.stale = 0)
//     and while the one who asks shares a room with that user.
//   - A to-device message is deleted when the client's next sync token has passed it, or when the other server has
//     acknowledged it, never before.
//
// Locks: claim takes Keys.claiming, then the transaction. Uploads of one user take uploads[user], then the committer; a
// fetch of a remote list takes resyncs[user], never inside of a transaction.
// Caches are checked against the stream before use and hold nothing that cannot be read again.
//
// Deliberately absent: decryption of anything, any private key, and routes of federation (package federation calls
// FederationDevices, FederationQuery, FederationClaim and the Receive methods).
package e2ee
