/** What the store says, drawn anew whenever any tab changes it. */

import { useEffect, useState } from "preact/hooks";
import { useApp } from "../app/app.js";
import type { Store } from "../store/store.js";

/**
 * The result of a query; undefined until it is there. `keys` are what the query depends on besides
 * the store.
 */
export function useLive<T>(query: (store: Store) => Promise<T>, keys: readonly unknown[] = []): T | undefined {
  const { store } = useApp();
  const [result, setResult] = useState<T>();
  useEffect(() => {
    let end = () => {};
    let over = false;
    void store.then((store) => {
      if (over) return;
      const subscription = store.live(() => query(store)).subscribe(setResult);
      end = () => subscription.unsubscribe();
    });
    return () => {
      over = true;
      end();
    };
  }, [store, ...keys]);
  return result;
}
