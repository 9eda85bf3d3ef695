// The tests of headers, keys, names and options that need no server, as one file: for each mutant one worker starts, and not
// one for every file.
import './adopt-judge.test.ts';
import './bytes.test.ts';
import './canonical.test.ts';
import './client-options.test.ts';
import './cluster-tag.test.ts';
import './events-entries.test.ts';
import './flows-names.test.ts';
import './header-keys.test.ts';
import './header-vectors.test.ts';
import './header.test.ts';
import './job-options.test.ts';
import './list.test.ts';
import './mac.test.ts';
import './names.test.ts';
import './outcome.test.ts';
import './placement.test.ts';
import './replay-times.test.ts';
import './rules-words.test.ts';
import './schedulers-binding.test.ts';
import './schedulers-ids.test.ts';
import './schedulers-vectors.test.ts';
import './silos.test.ts';
import './stamp.test.ts';
import './verify.test.ts';
