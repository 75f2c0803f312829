// Package media keeps files that users upload, fetches those of other servers, makes thumbnails and previews links.
//
// Specification: client-server API, "Content repository" (cs#content-repository); server-server API, "Content
// Repository" (ss#content-repository).
//
// Invariants:
//   - a row of table media with state "done" names a blob that is completely on disk;
//   - blobs are named by the SHA-256 of their content, so the same file uploaded twice is stored once;
//   - what a browser gets is never rendered with this server's origin: every answer carries a sandboxing content
//     security policy, and only a short list of types is served inline.
//
// Every input is bounded: upload size, remote download size and time, pixels of an image before it is decoded, number
// of thumbnails for one file (fixed sizes), bytes read of a previewed page.
//
// Deliberately absent: encryption at rest (encrypted rooms upload ciphertext), transcoding, and the answer to other
// servers, which package federation gives from Download and Thumbnail.
package media
