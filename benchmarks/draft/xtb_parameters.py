import sys, json, copy, time, os, numpy as np
from tblite.interface import Calculator
from ase.data import chemical_symbols as SYM
B=0.529177210903; H=27.211386245988
P0=json.load(open('gfn2.json'))
def params(z):
    els=sorted(set(SYM[i] for i in z)); out=[]
    for e in els:
        d=P0['element'][e]
        for k in ('levels','slater','shpoly','kcn'):
            out+=[('element',e,k,i) for i in range(len(d[k]))]
        out+=[('element',e,'lgam',i) for i in range(1,len(d['lgam']))]
        out+=[('element',e,k) for k in ('gam','gam3','zeff','arep','en','dkernel','qkernel')]
    out+=[('hamiltonian','xtb',k) for k in ('wexp','enscale')]
    out+=[('hamiltonian','xtb','shell',k) for k in ('ss','pp')]
    out+=[('dispersion','d4',k) for k in ('s8','a1','a2')]
    out+=[('repulsion','effective','kexp')]
    out+=[('charge','effective','gexp')]
    return out
def get(P,k):
    for a in k: P=P[a]
    return P
def put(P,k,v):
    for a in k[:-1]: P=P[a]
    P[k[-1]]=v
def trimmed(z):
    P=copy.deepcopy(P0); P['element']={e:P['element'][e] for e in set(SYM[i] for i in z)}; return P
class Calc:
    def __init__(self,P,z): self.P,self.z,self.c=P,z,None
    def __call__(self,x):
        es,fs=[],[]
        for p in x:
            if self.c is None:
                self.c=Calculator(self.P,self.z,p/B); self.c.set('verbosity',0); self.c.set('accuracy',0.1)
            else: self.c.update(p/B)
            r=self.c.singlepoint(); es.append(float(r.get('energy'))*H); fs.append(-r.get('gradient')*H/B)
        return np.array(es),np.array(fs)
def moved(z,ks,delta):
    P=trimmed(z)
    for k,d in zip(ks,delta): put(P,k,get(P0,k)+float(d))
    return P
def scales(ks):
    v=np.array([get(P0,k) for k in ks]); s=0.1*abs(v)
    floor={'kcn':0.01,'shpoly':0.01,'gam3':0.02,'dkernel':0.005,'qkernel':0.001,'enscale':0.01}
    for i,k in enumerate(ks):
        n=next((a for a in k if a in floor),None)
        if n: s[i]=max(s[i],floor[n])
    return s
def jac(z,ks,x,step=0.05):
    s=scales(ks); E=[];F=[]
    for i,k in enumerate(ks):
        d=np.zeros(len(ks)); d[i]=step*s[i]
        a=Calc(moved(z,ks,d),z)(x); b=Calc(moved(z,ks,-d),z)(x)
        E.append((a[0]-b[0])/(2*step)); F.append((a[1]-b[1])/(2*step))   # per scale unit
    return np.array(E),np.array(F)
if __name__=='__main__':
    mol,split,n=sys.argv[1],int(sys.argv[2]),50
    d=np.load(f'/work/shared/data/rmd17/rmd17_{mol}_train_{split:02d}.npz'); z=d['nuclear_charges'].astype(int)
    ks=params(z); t=time.time(); E,F=jac(z,ks,d['coords'][:n])
    np.savez(f'srp_{mol}_{split}.npz',E=E,F=F); print(mol,len(ks),time.time()-t)
